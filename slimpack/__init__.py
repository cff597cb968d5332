"""Turn a requirements file into a machine-learning bundle that fits AWS Lambda."""

__version__ = "0.1.0"
