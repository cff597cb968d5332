"""What there is to tell, as text: for a terminal, for a page, for other programs."""
