"""Handlers: real stacks, each with a handler that does other work for each event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Event = dict[str, Any]


def call(function: str, /, **given: Any) -> Event:  # noqa: ANN401 -- any JSON value
    """Returns an event that has a function of the stack called."""
    return {"call": function, **given}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Requirements, and a handler that uses much of them."""

    requirements: str
    """Names, with spaces between them."""
    code: str
    """The functions that events call."""
    seen: tuple[Event, ...]
    """What a profile is made from."""
    held_back: tuple[Event, ...]
    """What it does not see: other functions, other types, larger sizes, modules that are imported late, errors."""
    environment: tuple[str, ...] = ()
    """Variables of the function besides ``ENVIRONMENT``."""
    keep: tuple[str, ...] = ()
    """Patterns of files that rules take out of the bundle, and that answers show."""

    @property
    def options(self) -> tuple[str, ...]:
        """How slimpack is told to run the handler."""
        variables = (part for one in (*ENVIRONMENT, *self.environment) for part in ("--env", one))
        return ("--handler", "app.handler", "--memory", "4096", "--timeout", "120", *variables)

    def put(self, folder: Path) -> None:
        """Writes ``requirements.txt``, the app, and ``seen-*.json`` and ``held-back-*.json``."""
        (folder / "app").mkdir()
        (folder / "app" / "app.py").write_text(f"{HANDLER}{self.code}", encoding="utf-8")
        (folder / "requirements.txt").write_text("\n".join(self.requirements.split()), encoding="utf-8")
        for name, events in (("seen", self.seen), ("held-back", self.held_back)):
            for number, event in enumerate(events):
                (folder / f"{name}-{number:02}.json").write_text(json.dumps(event), encoding="utf-8")


ENVIRONMENT = (
    "OMP_NUM_THREADS=1",  # more would sum up in another order
    "OPENBLAS_NUM_THREADS=1",
    "PYTHONHASHSEED=0",
)

HANDLER = """
import json, traceback
def handler(event, context):
    try:
        found = globals()[event.pop("call")](**event)
    except Exception as problem:
        found = traceback.format_exception(problem)  # with the lines of packed modules
    return json.loads(json.dumps(found, default=str))
"""

STACKS = {
    "catboost": Stack(
        requirements="catboost",
        code="""
import numpy
from catboost import CatBoostClassifier, CatBoostRegressor, Pool

STEADY = {"random_seed": 7, "thread_count": 1, "allow_writing_files": False, "verbose": False}

def table(rows):
    return numpy.random.default_rng(7).normal(size=(rows, 5))

def trained(**settings):
    found = table(200)
    model = CatBoostRegressor(**{"iterations": 20, **STEADY, **settings})
    return model.fit(Pool(found, (found[:, 0] * 2 + found[:, 1] ** 2).round(1)))

def predict(rows):
    return trained().predict(table(rows)).tolist()

def explain(rows):
    model = trained(loss_function="Quantile:alpha=0.9")
    return [model.get_feature_importance(Pool(table(rows)), "ShapValues").tolist(), model.get_all_params()["depth"]]

def classify(rows):
    found = [[one % 7, "abc"[one % 3], f"word{one % 5} more"] for one in range(rows)]
    names = ["number", "letter", "words"]
    pool = Pool(found, [one % 3 for one in range(rows)], cat_features=[1], text_features=[2], feature_names=names)
    model = CatBoostClassifier(iterations=9, **STEADY).fit(pool)
    return [model.predict_proba(pool)[:5].tolist(), model.eval_metrics(pool, ["Accuracy", "TotalF1"])]

def store():
    model = trained()
    model.save_model("/tmp/model.json", format="json")
    model.save_model("/tmp/model.cpp", format="cpp")
    with open("/tmp/model.cpp") as file:
        lines = len(file.readlines())
    return [CatBoostRegressor().load_model("/tmp/model.json", format="json").predict(table(3)).tolist(), lines]
""",
        seen=(call("predict", rows=3), call("predict", rows=50)),
        held_back=(
            call("explain", rows=4),
            call("classify", rows=90),
            call("store"),
            call("trained", loss_function="None such"),
            call("trained", depth=99),
        ),
    ),
    "cryptography": Stack(
        requirements="cryptography",
        code=r"""
import datetime
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

def digest(size):
    one = hmac.HMAC(b"key", hashes.SHA256())
    one.update(b"x" * size)
    return one.finalize().hex()

def seal(text):
    return AESGCM(b"k" * 32).encrypt(b"n" * 12, text.encode(), None).hex()

def unseal(sealed):
    return ChaCha20Poly1305(b"k" * 32).decrypt(b"n" * 12, bytes.fromhex(sealed), b"")

def other(size):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    several = [hashes.Hash(one) for one in (hashes.SHA3_512(), hashes.BLAKE2b(64), hashes.SHA512_256())]
    for one in several:
        one.update(b"x" * size)
    cipher = Cipher(algorithms.AES(b"k" * 24), modes.CTR(b"n" * 16)).encryptor()
    return [
        cipher.update(b"x" * size)[-9:].hex(),
        [one.finalize().hex() for one in several],
        Scrypt(b"salt", 32, 2**10, 8, 1).derive(b"word").hex(),
        Poly1305.generate_tag(b"k" * 32, b"x" * size).hex(),
    ]

def certify(name):
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(7)
    )
    made = made.not_valid_before(datetime.datetime(2024, 1, 1)).not_valid_after(datetime.datetime(2034, 1, 1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False).sign(
        key, None
    )
    made.verify_directly_issued_by(made)
    pem = made.public_bytes(serialization.Encoding.PEM)
    return [pem.decode(), str(x509.load_pem_x509_certificate(pem).extensions)]

def agree(number):
    from cryptography.hazmat.primitives.asymmetric import ec

    one, other = (ec.derive_private_key(at, ec.SECP384R1()) for at in (number, number + 1))
    form = serialization.PrivateFormat.PKCS8
    text = one.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return [
        text.decode(),
        serialization.load_pem_private_key(text, None).exchange(ec.ECDH(), other.public_key()).hex(),
    ]

def load(text):
    return serialization.load_pem_private_key(text.encode(), None)
""",
        seen=(call("digest", size=100), call("seal", text="a")),
        held_back=(
            call("digest", size=1_000_000),
            call("unseal", sealed="00" * 40),
            call("other", size=960),
            call("certify", name="somebody"),
            call("agree", number=2024),
            call("load", text="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ),
    ),
    "duckdb": Stack(
        requirements="duckdb",
        code="""
import duckdb

database = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})

def ask(text):
    return database.execute(text).fetchall()
""",
        seen=(
            call("ask", text="SELECT i % 3 AS k, sum(i) FROM range(100) t(i) GROUP BY k ORDER BY k"),
            call("ask", text="SELECT upper('a') || 'b', 1.5::DECIMAL(4, 2)"),
        ),
        held_back=(
            call(
                "ask",
                text="SELECT i % 30 k, sum(sqrt(i)), mode(i % 7) FROM range(200000) t(i) GROUP BY 1 ORDER BY 1",
            ),
            call(
                "ask",
                text="SELECT i, rank() OVER (PARTITION BY i % 2 ORDER BY -i), lag(i) OVER () FROM range(9) t(i)",
            ),
            call(
                "ask",
                text="WITH RECURSIVE f(n) AS (SELECT 1 UNION ALL SELECT 2 * n FROM f WHERE n < 99) FROM f",
            ),
            call("ask", text="SELECT regexp_extract_all('a1b22', '[0-9]+'), list_sort([3, 1])"),
            call("ask", text="SELECT strftime(DATE '2024-02-29' + INTERVAL 1 MONTH, '%A %x')"),
            call(
                "ask",
                text="COPY (SELECT i, 'v' || i % 9 v FROM range(9999) t(i)) TO '/tmp/a.parquet' (CODEC zstd)",
            ),
            call(
                "ask",
                text="SELECT v, count(*), quantile_cont(i, 0.3) FROM '/tmp/a.parquet' GROUP BY v ORDER BY v",
            ),
            call("ask", text="SELECT CAST('x' AS INTEGER)"),
            call("ask", text="SELECT nothing FROM nowhere WHERE"),
        ),
    ),
    "grpcio": Stack(
        requirements="grpcio protobuf",
        environment=("GRPC_VERBOSITY=NONE",),  # it tells which side closed a connection first
        code="""
import concurrent.futures, grpc
from google.protobuf import struct_pb2

def struct(size):
    found = struct_pb2.Struct()
    found.update({f"key{one}": [one, str(one), {"deep": one % 2 == 0}] for one in range(size)})
    return found

class Service(grpc.GenericRpcHandler):
    def service(self, details):
        write = struct_pb2.Struct.SerializeToString
        if details.method == "/a/one":
            return grpc.unary_unary_rpc_method_handler(self.one, struct_pb2.Struct.FromString, write)
        if details.method == "/a/many":
            return grpc.unary_stream_rpc_method_handler(self.many, struct_pb2.Struct.FromString, write)

    def one(self, request, context):
        if not request.fields:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there is nothing")
        return struct(len(request.fields))

    def many(self, request, context):
        return (struct(one) for one in range(len(request.fields)))

def ask(size, method="/a/one", **options):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), [Service()])
    server.add_insecure_port("unix:/tmp/socket")
    server.start()
    try:
        with grpc.insecure_channel("unix:/tmp/socket") as channel:
            kind = channel.unary_stream if method == "/a/many" else channel.unary_unary
            stub = kind(method, struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString)
            found = stub(struct(size), timeout=60, **options)
            return [len(one.fields) for one in found] if method == "/a/many" else len(found.fields)
    except grpc.RpcError as problem:
        return [str(problem.code()), problem.details()]
    finally:
        server.stop(None).wait()

def text(size):
    from google.protobuf import descriptor_pb2, json_format, text_format

    found = json_format.MessageToDict(struct(size))
    told = text_format.MessageToString(descriptor_pb2.DescriptorProto(name="a", field=[{"name": "b", "number": 7}]))
    return [sorted(found.items()), told, text_format.Parse(told, descriptor_pb2.DescriptorProto()).field[0].number]

def make():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

    pool = descriptor_pool.DescriptorPool()
    field = {"name": "value", "number": 1, "type": 3, "label": 3}
    pool.Add(descriptor_pb2.FileDescriptorProto(name="a.proto", message_type=[{"name": "A", "field": [field]}]))
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("A"))(value=[1, 2**40])
    when = timestamp_pb2.Timestamp()
    when.FromJsonString("2024-02-29T12:00:00.5Z")
    return [made.SerializeToString().hex(), str(made), when.ToJsonString(), when.nanos]

def parse(text, kind):
    from google.protobuf import json_format

    if kind == "json":
        return str(json_format.Parse(text, struct_pb2.ListValue()))
    return str(struct_pb2.Struct.FromString(text.encode()))
""",
        seen=(call("ask", size=3), call("ask", size=30)),
        held_back=(
            call("ask", size=3000),
            call("ask", size=5, method="/a/many"),
            call("ask", size=0),
            call("ask", size=1, method="/a/none"),
            call("ask", size=2000, compression=2),
            call("text", size=3),
            call("make"),
            call("parse", text="[1, {}, null]", kind="json"),
            call("parse", text="[1, {}", kind="json"),
            call("parse", text="wrong", kind="binary"),
        ),
    ),
    "h5py": Stack(
        requirements="h5py",
        code="""
import h5py, numpy

def store(rows, kind="float64", **options):
    with h5py.File("/tmp/a.h5", "w") as file:
        found = (numpy.random.default_rng(7).normal(size=(rows, 5)) * 9).astype(kind)
        made = file.create_dataset("group/table", data=found, **options)
        made.attrs["rows"] = rows
        return [made[1:3].tolist(), int(made.attrs["rows"]), made.id.get_storage_size()]

def resize(rows):
    with h5py.File("any", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("a", (1, 3), maxshape=(None, 3), dtype="i2", chunks=True, fillvalue=7)
        made.resize(rows, axis=0)
        made[rows // 2 :, 1] = numpy.arange(rows - rows // 2)
        return [made[...].sum(axis=0).tolist(), made[[0, rows - 1], :2].tolist(), made.chunks]

def kinds():
    with h5py.File("any", "w", driver="core", backing_store=False, track_order=True) as file:
        file["words"] = numpy.array(["one", "zwei"], dtype=h5py.string_dtype())
        file["pairs"] = numpy.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i8"), ("b", "f2")])
        file["ragged"] = numpy.array([[1], [1, 2]], dtype=object)[:0].astype("f4")
        file.attrs.create("color", 1, dtype=h5py.enum_dtype({"red": 0, "blue": 1}))
        file["link"] = h5py.SoftLink("/pairs")
        file["reference"] = file["words"].ref
        layout = h5py.VirtualLayout(shape=(2, 2), dtype="i8")
        layout[0] = h5py.VirtualSource(".", "pairs", shape=(2,), dtype="i8")
        found = []
        file.visititems(lambda name, one: found.append([name, str(getattr(one, "dtype", ""))]))
        return [
            found,
            file["words"].asstr()[...].tolist(),
            file["link"]["b"].tolist(),
            file[file["reference"][()]].name,
        ]

def read(name):
    with open("/tmp/bad.h5", "wb") as file:
        file.write(b"none" * 999)
    with h5py.File(f"/tmp/{name}") as file:
        return file["nothing"]
""",
        seen=(call("store", rows=20), call("store", rows=200)),
        held_back=(
            call("store", rows=9000, compression="gzip", shuffle=True, fletcher32=True),
            call("store", rows=500, kind="int16", compression="lzf", chunks=True),
            call("store", rows=50, kind="complex64", scaleoffset=2),
            call("resize", rows=300),
            call("kinds"),
            call("read", name="bad.h5"),
            call("read", name="a.h5"),
        ),
    ),
    "jax": Stack(
        requirements="jax",
        code="""
import jax, jax.numpy as jnp

@jax.jit
def loss(weights, x):
    return jnp.sum(jnp.tanh(x @ weights) ** 2)

def table(rows, kind="float32"):
    return (jax.random.normal(jax.random.key(7), (rows, 5)) / 3).astype(kind)

def learn(rows, kind="float32"):
    value, gradient = jax.value_and_grad(loss)(table(5, kind), table(rows, kind))
    return [float(value), gradient.tolist()]

def decompose(rows):
    found = table(rows)
    return [
        jnp.linalg.svd(found)[1].tolist(),
        abs(jnp.fft.fft(found[:, 0])).tolist(),
        jnp.sort(found, axis=0)[:2].tolist(),
    ]

def loop(steps):
    from jax import lax

    def step(state, one):
        return jnp.cos(state) + one, state

    found = lax.scan(step, jnp.float32(1), jnp.arange(steps, dtype="float32"))[1]
    turned = lax.while_loop(lambda state: state < steps, lambda state: state * 2, 1)
    picture = lax.conv(table(16)[None, None], jnp.ones((1, 1, 3, 3)), (1, 1), "SAME")
    return [
        found.tolist(),
        int(turned),
        picture.sum(axis=-1).tolist(),
        jax.vmap(jnp.dot)(table(3), table(3)).tolist(),
    ]

def rest():
    import jax.scipy.special, jax.scipy.stats

    with jax.enable_x64(True):
        exact = jnp.linalg.inv(table(5, "float64") + jnp.eye(5)).tolist()
    return [
        exact,
        jax.scipy.special.gammaln(jnp.arange(1.0, 5)).tolist(),
        str(jax.make_jaxpr(loss)(table(5), table(2))),
        jax.jit(loss).lower(table(5), table(2)).as_text(),
        jax.tree.leaves({"a": [1, (2, None)]}),
    ]

def refuse(rows):
    return table(rows) @ table(rows)
""",
        seen=(call("learn", rows=6), call("learn", rows=3)),
        held_back=(
            call("learn", rows=700, kind="bfloat16"),
            call("decompose", rows=9),
            call("loop", steps=12),
            call("rest"),
            call("refuse", rows=3),
        ),
    ),
    "librosa": Stack(
        requirements="librosa",
        environment=("NUMBA_CACHE_DIR=/tmp",),  # Lambda's task root is read-only
        code="""
import librosa.filters, librosa.sequence, numba, numpy, soxr  # the rest needs libsndfile, which wheels may lack

@numba.njit
def squares(values):
    found = 0.0
    for value in values:
        found += value * value
    return found

def tone(pitch, kind="float32"):
    return numpy.sin(numpy.arange(22050) * 0.1 * pitch).astype(kind)

def total(pitch, kind="float32"):
    return squares(tone(pitch, kind))

def bands(pitch, rate=8000):
    slow = soxr.resample(tone(pitch), 22050, rate)
    return [librosa.filters.mel(sr=22050, n_fft=512, n_mels=8).sum(axis=1).tolist(), slow[:9].tolist(), len(slow)]

def warp(pitch):
    cost, path = librosa.sequence.dtw(X=tone(pitch)[None, :40], Y=tone(pitch)[None, 9:60])
    return [float(cost[-1, -1]), path.tolist()]

def refuse():
    @numba.njit
    def wrong(value):
        return value + "text"

    return wrong(1)
""",
        seen=(call("total", pitch=1), call("bands", pitch=2)),
        held_back=(
            call("total", pitch=3, kind="complex128"),
            call("bands", pitch=1, rate=48000),
            call("warp", pitch=2),
            call("bands", pitch=1, rate=-5),
            call("refuse"),
        ),
    ),
    "lightgbm": Stack(
        requirements="lightgbm scikit-learn",  # which brings libgomp
        code="""
import lightgbm, numpy

STEADY = {"num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 7, "verbose": -1}

def table(rows, kind="float64"):
    return (numpy.random.default_rng(7).normal(size=(rows, 6)) * 9).astype(kind)

def trained(rows=400, kind="float64", **settings):
    found = table(rows, kind)
    wanted = (found[:, 0] * 2 + found[:, 1] ** 2 > 9).astype(int)
    data = lightgbm.Dataset(found, wanted, group=[rows // 4] * 4, free_raw_data=False)
    return lightgbm.train({"objective": "binary", **STEADY, **settings}, data, num_boost_round=8)

def predict(rows):
    return trained().predict(table(rows)).tolist()

def learn(rows, **settings):
    model = trained(rows, **settings)
    return [model.predict(table(3)).tolist(), model.num_trees(), model.feature_importance("gain").tolist()]

def explain(rows):
    model = trained()
    again = lightgbm.Booster(model_str=model.model_to_string())
    return [
        again.predict(table(rows), pred_contrib=True).tolist(),
        again.predict(table(rows), pred_leaf=True).tolist(),
        str(model.dump_model()["tree_info"][0])[:999],
    ]

def sparse(rows):
    import scipy.sparse

    found = scipy.sparse.csr_matrix(table(rows) * (table(rows) > 0))
    model = lightgbm.train(STEADY, lightgbm.Dataset(found, numpy.arange(rows) % 3, categorical_feature=[1]), 5)
    return model.predict(found)[:5].tolist()
""",
        seen=(call("predict", rows=3), call("predict", rows=30)),
        held_back=(
            call("explain", rows=2),
            call("learn", rows=8000, kind="float32"),
            call("learn", rows=400, objective="lambdarank", boosting="dart"),
            call("learn", rows=400, objective="tweedie", linear_tree=True),
            call("sparse", rows=300),
            call("learn", rows=400, objective="none such"),
            call("learn", rows=400, num_leaves=-3),
        ),
    ),
    "lxml": Stack(
        requirements="lxml",
        code="""
from lxml import etree

def rows(count):
    return "<t>" + "".join(f"<r n='{one}'><c>{one * 1234.5}</c></r>" for one in range(count)) + "</t>"

def parse(count):
    root = etree.fromstring(rows(count))
    return [root.xpath("sum(//c)"), [one.get("n") for one in root.iterfind("r[c]")][-9:], len(etree.tostring(root))]

def transform(count):
    sheet = etree.XSLT(
        etree.XML('''<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
        <xsl:template match="/"><o><xsl:for-each select="//r"><xsl:sort select="@n" order="descending"/>
        <p><xsl:value-of select="concat(@n, ':', format-number(c, '#,##0.00'))"/></p></xsl:for-each></o></xsl:template>
        </xsl:stylesheet>''')
    )
    return str(sheet(etree.XML(rows(count))))

def page(text):
    import lxml.html.diff

    tree = lxml.html.document_fromstring(text)
    tree.make_links_absolute("https://example.org/a/")
    links = [[link, at] for _, link, at, _ in tree.iterlinks()]
    return [
        lxml.html.tostring(tree, pretty_print=True).decode(),
        links,
        lxml.html.diff.htmldiff(text, "<p>one<br>two"),
    ]

def check(text):
    from lxml import objectify

    grammar = etree.RelaxNG(
        etree.XML('''<element name="a" xmlns="http://relaxng.org/ns/structure/1.0"
        datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes"><oneOrMore><element name="b"><data type="int"/>
        </element></oneOrMore></element>''')
    )
    found = objectify.fromstring(text)
    canonical = etree.tostring(etree.ElementTree(found), method="c14n").decode()
    return [grammar.validate(found), str(grammar.error_log), canonical, objectify.dump(found)]
""",
        seen=(call("parse", count=5), call("parse", count=50)),
        held_back=(
            call("parse", count=20_000),
            call("transform", count=30),
            call("page", text="<p>one<br><a href=b>two<table><td>&eacute;"),
            call("check", text="<a><b>1</b><b>x</b></a>"),
            call("check", text="<a><b>1</a>"),
        ),
    ),
    "matplotlib": Stack(
        requirements="matplotlib",
        environment=("MPLCONFIGDIR=/tmp", "SOURCE_DATE_EPOCH=0"),
        code=r"""
import hashlib, io, logging, numpy

logging.getLogger("matplotlib").setLevel("ERROR")  # that it makes a list of fonts
import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "a"
from matplotlib import pyplot

def digest(figure, format="png"):
    file = io.BytesIO()
    figure.savefig(file, format=format)
    pyplot.close(figure)
    return [hashlib.sha256(file.getvalue()).hexdigest(), len(file.getvalue())]

def line(points):
    figure, axes = pyplot.subplots()
    axes.plot([one**2 for one in range(points)])
    return digest(figure)

def kinds(format):
    figure, axes = pyplot.subplots(2, 2)
    axes[0, 0].hist([1, 2, 2, 3], bins=3)
    axes[0, 1].pie([1, 2, 3], labels=["a", "b", "$\\frac{x}{y}$"])
    axes[1, 0].contourf([[1, 2], [3, 5]], cmap="magma")
    axes[1, 1].imshow([[1, 2], [3, 4]], interpolation="bicubic")
    figure.suptitle("$\\sum_i x_i$")
    return digest(figure, format)

def deep():
    figure = pyplot.figure()
    axes = figure.add_subplot(projection="3d")
    axes.plot_surface(*numpy.mgrid[:3, :4], numpy.arange(12.0).reshape(3, 4))
    figure.add_axes([0.1, 0.1, 0.2, 0.2], projection="polar").plot([1, 2])
    return digest(figure)

def split(points):
    import matplotlib.dates, matplotlib.tri

    mesh = matplotlib.tri.Triangulation(
        [(one * 7) % 13 for one in range(points)], [(one * one) % 11 for one in range(points)]
    )
    return [mesh.triangles.tolist(), str(matplotlib.dates.num2date(20000.5)), matplotlib.colors.to_hex("tab:blue")]
""",
        seen=(call("line", points=5), call("line", points=50)),
        held_back=(
            call("line", points=5000),
            call("kinds", format="png"),
            call("kinds", format="svg"),
            call("kinds", format="pdf"),
            call("deep"),
            call("split", points=20),
            call("split", points=2),
            call("kinds", format="none such"),
        ),
    ),
    "networkx": Stack(
        requirements="networkx numpy",
        code="""
import networkx

def graph(size):
    return networkx.gnm_random_graph(size, size * 3, seed=7)

def path(size):
    return [
        networkx.shortest_path(graph(size), 0, size - 1),
        sorted(networkx.single_source_shortest_path_length(graph(size), 0).values())[-1],
    ]

def degrees(size):
    return [sorted(dict(graph(size).degree).items()), networkx.density(graph(size))]

def flow(size):
    found = networkx.DiGraph()
    found.add_weighted_edges_from(((a, b, (a * 7 + b) % 9 + 1) for a, b in graph(size).edges), weight="capacity")
    return [networkx.maximum_flow_value(found, 0, size - 1), sorted(networkx.minimum_cut(found, 0, size - 1)[1][0])]

def groups(size):
    found = graph(size)
    louvain = networkx.community.louvain_communities(found, seed=7)
    greedy = networkx.community.greedy_modularity_communities(found)
    return [[sorted(one) for one in (*louvain, *greedy)], networkx.is_planar(found), networkx.greedy_color(found)]

def store(size):
    text = chr(10).join(networkx.generate_graphml(graph(size)))
    again = networkx.parse_graphml(text, node_type=int)
    return [
        text,
        networkx.is_isomorphic(again, graph(size)),
        networkx.to_prufer_sequence(networkx.path_graph(6)),
        networkx.node_link_data(again)["links" if "links" in networkx.node_link_data(again) else "edges"][:2],
    ]

def numeric(size):
    found = networkx.to_numpy_array(graph(size))
    places = networkx.spring_layout(graph(size), seed=7)
    return [found.sum(axis=0).tolist(), [one.round(6).tolist() for one in places.values()]]

def lost():
    return networkx.shortest_path(networkx.Graph([(1, 2), (3, 4)]), 1, 4, weight="w")
""",
        seen=(call("path", size=20), call("degrees", size=20)),
        held_back=(
            call("path", size=3000),
            call("flow", size=40),
            call("groups", size=30),
            call("store", size=9),
            call("numeric", size=12),
            call("lost"),
        ),
    ),
    "nltk": Stack(
        requirements="nltk",
        code="""
import nltk

WORDS = "the quick brown foxes were jumping over lazily sleeping dogs and other running animals".split()

def stem(times):
    return [nltk.PorterStemmer().stem(one) for one in WORDS * times]

def distance(one, other):
    return [nltk.edit_distance(one, other, transpositions=True), nltk.FreqDist(one + other).most_common(3)]

def languages(word):
    from nltk.stem import LancasterStemmer, SnowballStemmer
    from nltk.stem.arlstem import ARLSTem

    return [
        [SnowballStemmer(one).stem(word) for one in SnowballStemmer.languages],
        LancasterStemmer().stem(word),
        ARLSTem().stem(word),
    ]

def parse(text):
    grammar = nltk.CFG.fromstring("S -> N V | N V N\\nN -> 'dogs' | 'cats' | N 'and' N\\nV -> 'chase' | 'sleep'")
    found = [str(one) for one in nltk.ChartParser(grammar).parse(text.split())]
    chunks = nltk.RegexpParser("NP: {<DT>?<JJ>*<NN>}").parse(
        [("the", "DT"), ("old", "JJ"), ("dog", "NN"), ("ran", "VBD")]
    )
    return [found, str(chunks), nltk.Tree.fromstring("(S (A b) (C d))").pformat(margin=5)]

def learn(times):
    data = [({"last": one[-1], "long": len(one) > 4}, one < "m") for one in WORDS * times]
    bayes = nltk.NaiveBayesClassifier.train(data)
    tree = nltk.DecisionTreeClassifier.train(data)
    tagger = nltk.UnigramTagger([[(one, one[:2]) for one in WORDS]], backoff=nltk.DefaultTagger("x"))
    return [
        bayes.classify({"last": "s"}),
        str(tree),
        tagger.tag(["the", "foxes", "fly"]),
        nltk.accuracy([1, 2], [1, 3]),
    ]

def score():
    from nltk.sentiment.util import mark_negation
    from nltk.tokenize import MWETokenizer, ToktokTokenizer, TweetTokenizer
    from nltk.translate.bleu_score import sentence_bleu
    from nltk.lm import Laplace
    from nltk.lm.preprocessing import padded_everygram_pipeline

    model = Laplace(2)
    model.fit(*padded_everygram_pipeline(2, [WORDS]))
    return [
        sentence_bleu([WORDS], WORDS[:-2]),
        model.score("quick", ["the"]),
        mark_negation("I did n't go there".split()),
        TweetTokenizer().tokenize("@a: :-) <3 #b"),
        ToktokTokenizer().tokenize("Is 9.5% (of it) here?"),
        MWETokenizer([("over", "lazily")]).tokenize(WORDS),
        model.generate(5, random_seed=7),
    ]

def prove(text):
    from nltk.sem.logic import LogicParser

    return str(LogicParser().parse(text).simplify())

def lost():
    return nltk.word_tokenize("There is no data.")
""",
        seen=(call("stem", times=1), call("distance", one="kitten", other="sitting")),
        held_back=(
            call("stem", times=200),
            call("languages", word="running"),
            call("parse", text="dogs and cats chase cats"),
            call("learn", times=3),
            call("score"),
            call("prove", text="(\\x.(walk(x) & talk(x)))(john)"),
            call("prove", text="walk(x &"),
            call("lost"),
        ),
    ),
    "numpy": Stack(
        requirements="numpy",
        code="""
import numpy

def table(rows, kind="float64"):
    return (numpy.random.default_rng(7).normal(size=(rows, 5)) * 9).astype(kind)

def describe(rows):
    found = table(rows)
    return [found.mean(axis=0).tolist(), found.std(axis=0).tolist(), numpy.percentile(found, [5, 50, 95]).tolist()]

def solve(rows, kind="float64"):
    square = table(rows, kind).T @ table(rows, kind)
    return [numpy.linalg.solve(square, square[0]).tolist(), numpy.linalg.eigvals(square).tolist()]

def sort(rows, kind):
    found = table(rows, kind)
    return [numpy.sort(found, axis=0)[::97].tolist(), numpy.unique(found.round()).tolist(), int(found.argmax())]

def transform(rows):
    found = numpy.fft.rfft(table(rows)[:, 0])
    fitted = numpy.polynomial.Chebyshev.fit(numpy.arange(len(found)), abs(found), 4)
    return [
        abs(found)[:20].tolist(),
        fitted.coef.tolist(),
        numpy.einsum("ij,ik->jk", table(rows), table(rows)).tolist(),
    ]

def rest(rows):
    import numpy.ma, numpy.strings

    found = numpy.ma.masked_less(table(rows), 0)
    days = numpy.arange("2024-02", "2024-03", dtype="datetime64[D]")
    words = numpy.strings.upper(numpy.array(["one", "two"], dtype=numpy.dtypes.StringDType()))
    return [
        found.sum(axis=0).tolist(),
        words.tolist(),
        int(numpy.is_busday(days).sum()),
        numpy.random.Generator(numpy.random.MT19937(7)).gamma(2.0, size=4).tolist(),
        numpy.array2string(found[:3], precision=3),
        numpy.genfromtxt(["1,2,x", "3,4,5"], delimiter=",", missing_values="x", filling_values=9).tolist(),
    ]
""",
        seen=(call("describe", rows=20), call("solve", rows=20)),
        held_back=(
            call("solve", rows=5000, kind="complex64"),
            call("solve", rows=20, kind="float16"),
            call("sort", rows=4000, kind="int16"),
            call("sort", rows=4000, kind="float16"),
            call("transform", rows=1000),
            call("rest", rows=9),
            call("solve", rows=0),
        ),
    ),
    "onnxruntime": Stack(
        requirements="onnxruntime onnx",
        code="""
import numpy, onnx, onnxruntime
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(4)

def table(*shape):
    return (numpy.random.default_rng(7).normal(size=shape) * 3).astype("float32")

def run(nodes, given, wanted, weights=(), kind=TensorProto.FLOAT):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, one.shape) for name, one in given.items()]
    outputs = [helper.make_tensor_value_info(wanted, kind, None)]
    constants = [onnx.numpy_helper.from_array(one, name) for name, one in dict(weights).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, given)[0].tolist()

def dense(rows):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    return run(nodes, {"x": table(rows, 4)}, "y", {"w": table(4, 2)})

def scale(rows):
    return run([helper.make_node("Softmax", ["x"], ["y"], axis=1)], {"x": table(rows, 4)}, "y")

def picture(size):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    return run(nodes, {"x": table(1, 3, size, size)}, "y", {"w": table(4, 3, 3, 3)})

def sequence(steps):
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3)]
    return run(nodes, {"x": table(steps, 1, 2)}, "y", {"w": table(1, 12, 2), "r": table(1, 12, 3)})

def quantized(rows):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "q2"], ["y"]),
    ]
    return run(
        nodes, {"x": table(rows, 4)}, "y", {"q2": numpy.arange(8, dtype="uint8").reshape(4, 2)}, TensorProto.INT32
    )

def best(rows):
    nodes = [helper.make_node("TopK", ["x", "k"], ["v", "y"], axis=0)]
    return run(nodes, {"x": table(rows, 2)}, "y", {"k": numpy.array([5])}, TensorProto.INT64)

def check():
    from onnx import compose, parser, printer, shape_inference, version_converter

    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 12]> g (float[N, 4] x) => (float[N, M] y) '
        "{ h = Transpose<perm=[0, 1]>(x) y = Relu(h) }"
    )
    onnx.checker.check_model(model, full_check=True)
    newer = version_converter.convert_version(shape_inference.infer_shapes(model), 15)
    return [printer.to_text(newer), printer.to_text(compose.add_prefix(newer, "a_"))]

def wrong():
    return run([helper.make_node("MatMul", ["x", "x"], ["y"])], {"x": table(2, 4)}, "y")

def unknown():
    onnx.checker.check_node(helper.make_node("NoneSuch", ["x"], ["y"]))
""",
        seen=(call("dense", rows=3), call("scale", rows=5)),
        held_back=(
            call("dense", rows=2000),
            call("picture", size=12),
            call("sequence", steps=5),
            call("quantized", rows=3),
            call("best", rows=99),
            call("check"),
            call("wrong"),
            call("unknown"),
        ),
    ),
    "opencv": Stack(
        requirements="opencv-python-headless",
        code="""
import hashlib, cv2, numpy

cv2.setNumThreads(1)

def picture(size, kind="uint8"):
    rows, columns = numpy.indices((size, size))
    return numpy.dstack([rows * 3 % 256, columns * 5 % 256, (rows + columns) * 7 % 256]).astype(kind)

def digest(found):
    return [
        hashlib.sha256(numpy.ascontiguousarray(found).tobytes()).hexdigest(),
        list(found.shape),
        str(found.dtype),
    ]

def shrink(size):
    return digest(cv2.resize(picture(size), (32, 32), interpolation=cv2.INTER_AREA))

def blur(size, kind="uint8"):
    return digest(cv2.GaussianBlur(picture(size, kind), (5, 5), 1.5))

def edges(size):
    gray = cv2.cvtColor(picture(size), cv2.COLOR_BGR2GRAY)
    lines = cv2.Canny(gray, 50, 150)
    outlines = cv2.findContours(lines, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
    return [
        digest(lines),
        len(outlines),
        digest(cv2.distanceTransform(255 - lines, cv2.DIST_L2, 3)),
        digest(cv2.equalizeHist(gray)),
        digest(cv2.warpAffine(gray, numpy.float32([[1, 0.2, 0], [0.1, 1, 3]]), (size, size))),
    ]

def files(kind):
    known, data = cv2.imencode(kind, picture(60))
    return [known, digest(data), digest(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))]

def find(size):
    keys, told = cv2.ORB_create(50).detectAndCompute(cv2.cvtColor(picture(size), cv2.COLOR_BGR2GRAY), None)
    return [len(keys), digest(told)]

def solve():
    points = numpy.float32([[0, 0], [9, 1], [8, 9], [1, 7]])
    return [
        cv2.getPerspectiveTransform(points, points[::-1]).tolist(),
        cv2.minAreaRect(points),
        cv2.solve(*[numpy.eye(3)] * 2)[1].tolist(),
        cv2.kmeans(points, 2, None, (3, 9, 0.1), 2, cv2.KMEANS_PP_CENTERS)[0] >= 0,
        cv2.Rodrigues(numpy.eye(3))[0].tolist(),
    ]
""",
        seen=(call("shrink", size=64), call("blur", size=64)),
        held_back=(
            call("blur", size=700, kind="float32"),
            call("blur", size=64, kind="bool"),
            call("edges", size=90),
            call("files", kind=".jpg"),
            call("files", kind=".webp"),
            call("files", kind=".tiff"),
            call("files", kind=".none"),
            call("find", size=200),
            call("solve"),
            call("shrink", size=0),
        ),
    ),
    "pandas": Stack(
        requirements="pandas",
        code="""
import io, pandas

def frame(rows):
    return pandas.DataFrame(
        {"key": [f"k{one % 7}" for one in range(rows)], "value": [one * 1.5 % 11 for one in range(rows)]}
    )

def summary(rows):
    return [frame(rows).describe().to_dict(), frame(rows).groupby("key").value.sum().to_dict()]

def read(text):
    return pandas.read_csv(io.StringIO(text)).to_dict("list")

def join(rows):
    one, other = frame(rows), frame(rows // 2).drop_duplicates("key")
    found = one.merge(other, on="key", how="outer", suffixes=["", "_b"], indicator=True)
    near = pandas.merge_asof(one.sort_values("value"), other.sort_values("value"), on="value", direction="nearest")
    return [
        found._merge.value_counts().to_dict(),
        near.head(9).to_json(),
        found.pivot_table("value", "key", aggfunc="median").to_json(),
    ]

def times(rows):
    found = pandas.Series(range(rows), pandas.date_range("2024-02-27", periods=rows, freq="7h", tz="Europe/Vienna"))
    return [
        found.resample("2D").mean().to_json(),
        found.rolling("1D").std().sum(),
        found.ewm(span=3).mean().iloc[-1],
        found.index[3].quarter,
        str(pandas.Timedelta("1 days 2 min") * 3),
        str(pandas.offsets.BMonthEnd(3) + found.index[0]),
    ]

def kinds(rows):
    found = frame(rows).convert_dtypes().astype({"key": "category"})
    found["text"] = [f"a{one}b" for one in range(rows)]
    return [
        found.text.str.extract("([0-9]+)")[0].astype("Int64").sum(),
        found.key.cat.codes.sum(),
        found.to_html(max_rows=4),
        found.set_index(["key", "text"]).unstack("key").value.isna().sum().sum(),
        found.melt("key", value_name="v").to_csv()[:200],
        pandas.cut(found.value.astype(float), 3).astype(str).unique().tolist(),
    ]

def parse(text):
    return pandas.to_datetime([text], format="mixed").strftime("%c").tolist()

def large(rows):
    found = frame(rows)
    return [
        found.value.rank(method="dense").sum(),
        found.key.factorize()[0].sum(),
        found.query("value > 3 and key != 'k1'").shape,
        found.groupby("key", sort=False).value.transform("cumsum").sum(),
        found.sort_values(["key", "value"]).index[:5].tolist(),
    ]
""",
        seen=(call("summary", rows=10), call("read", text="a,b\n1,x\n2,y\n")),
        held_back=(
            call("large", rows=100_000),
            call("join", rows=40),
            call("times", rows=60),
            call("kinds", rows=20),
            call("parse", text="29 Feb 2024 3pm"),
            call("parse", text="no date"),
            call("read", text="a,b\n1\n1,2,3,4\n"),
            call("read", text='a;b\n"1'),
        ),
    ),
    "pillow": Stack(
        requirements="pillow",
        code="""
import hashlib, io
from PIL import Image, ImageDraw

def picture(size, mode="RGB"):
    found = Image.linear_gradient("L").resize((size, size))
    found = Image.merge("RGB", [found, found.rotate(90), found.rotate(180)])
    ImageDraw.Draw(found).ellipse([3, 3, size // 2, size // 2], "red", "blue")
    return found.convert(mode)

def digest(found):
    return [hashlib.sha256(found.tobytes()).hexdigest(), found.mode, found.size]

def shrink(size):
    return digest(picture(size).resize((20, 20), Image.Resampling.LANCZOS))

def store(format, mode="RGB", **options):
    file = io.BytesIO()
    picture(64, mode).save(file, format, **options)
    return read(file.getvalue().hex())

def change(size):
    from PIL import ImageChops, ImageEnhance, ImageFilter, ImageMorph, ImageOps, ImageStat

    found = picture(size)
    several = [
        found.filter(ImageFilter.GaussianBlur(3)),
        found.filter(ImageFilter.FIND_EDGES),
        ImageOps.autocontrast(found),
        ImageChops.difference(found, found.transpose(Image.Transpose.TRANSVERSE)),
        ImageEnhance.Color(found).enhance(0.3),
        found.quantize(16).convert("RGB"),
        found.transform((50, 50), Image.Transform.QUAD, (0, 0, 9, 50, 50, 50, 40, 0)),
        ImageMorph.MorphOp(op_name="edge").apply(found.convert("L"))[1],
        found.effect_spread(0),
    ]
    return [[digest(one) for one in several], ImageStat.Stat(found).stddev, found.entropy(), found.getbbox()]

def write(text):
    from PIL import ImageFont

    found = picture(200)
    ImageDraw.Draw(found).multiline_text(
        (5, 5), text, "white", ImageFont.load_default(22), stroke_width=2, stroke_fill="black"
    )
    return digest(found)

def color(size):
    from PIL import ImageCms

    change = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return digest(ImageCms.applyTransform(picture(size), change))

def read(text):
    with open("/tmp/picture", "wb") as file:
        file.write(bytes.fromhex(text))
    with Image.open("/tmp/picture") as found:
        return [digest(found), found.format, len(text)]
""",
        seen=(call("shrink", size=100), call("store", format="PNG")),
        held_back=(
            call("shrink", size=1500),
            call("store", format="JPEG", mode="CMYK", quality=30),
            call("store", format="WEBP", lossless=True),
            call("store", format="TIFF", compression="tiff_lzw"),
            call("store", format="GIF", mode="P"),
            call("store", format="JPEG2000"),
            call("store", format="AVIF"),
            call("change", size=120),
            call("write", text="two\nlines"),
            call("color", size=30),
            call("store", format="JPEG", mode="RGBA"),
            call("read", text="ffd8ffe000104a4649460001"),
            call("read", text="89504e470d0a1a0a0000000d49484452000000010000000108020000000000"),
        ),
    ),
    "polars": Stack(
        requirements="polars",
        environment=("POLARS_MAX_THREADS=1",),
        code="""
import io, polars

def frame(rows):
    return polars.DataFrame(
        {"key": [f"k{one % 7}" for one in range(rows)], "value": [one * 1.5 % 11 for one in range(rows)]}
    )

def summary(rows):
    return frame(rows).group_by("key").agg(polars.col("value").sum()).sort("key").rows()

def keep(rows):
    return frame(rows).filter(polars.col("value") > 5).with_columns(double=polars.col("value") * 2).rows()

def join(rows):
    one, other = frame(rows), frame(rows // 2).unique("key", keep="first", maintain_order=True)
    near = one.sort("value").join_asof(other.sort("value"), on="value", strategy="nearest", check_sortedness=False)
    return [
        one.join(other, on="key", how="left").sum().rows(),
        near.head(5).rows(),
        one.lazy().join(other.lazy(), on="key").explain(),
    ]

def sql(text, rows=50):
    return polars.SQLContext(t=frame(rows)).execute(text, eager=True).rows()

def files(rows):
    file, other, text = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frame(rows).write_parquet(file, compression="zstd")
    frame(rows).write_ipc(other, compression="lz4")
    frame(rows).write_ndjson(text)
    several = (
        polars.read_parquet(file.getvalue()),
        polars.read_ipc(other.getvalue()),
        polars.read_ndjson(text.getvalue()),
    )
    return [
        [one.equals(frame(rows)) for one in several],
        str(polars.read_csv(b"a,b\\n1,x\\n2,y", try_parse_dates=True)),
    ]

def kinds(rows):
    found = (
        frame(rows)
        .with_row_index()
        .with_columns(
            at=polars.datetime(2024, 2, 28) + polars.duration(hours="index"),
            kind=polars.col("key").cast(polars.Categorical),
            words=polars.concat_str("key", polars.lit(" B")).str.to_lowercase().str.split(" "),
            small=polars.col("value").cast(polars.Int8),
        )
    )
    return [
        found.group_by_dynamic("at", every="1d").agg(polars.len()).rows(),
        found.select(polars.col("words").list.join("-")).head(2).rows(),
        found.select(polars.col("value").rolling_mean(3).ewm_mean(span=2, ignore_nulls=True).sum()).rows(),
        str(found.schema),
        found.select(
            polars.col("key").str.extract("([0-9])").cast(int).sum(), polars.col("at").dt.strftime("%A").n_unique()
        ).rows(),
        str(found),
    ]

def refuse(kind):
    return frame(5).select(polars.col("key").cast(polars.Int64) if kind == "cast" else polars.col("none"))
""",
        seen=(call("summary", rows=20), call("keep", rows=20)),
        held_back=(
            call("summary", rows=100_000),
            call("join", rows=60),
            call(
                "sql",
                text="SELECT key, COUNT(*) AS n, AVG(value) FROM t GROUP BY key HAVING n > 3 ORDER BY key",
            ),
            call("files", rows=300),
            call("kinds", rows=50),
            call("refuse", kind="cast"),
            call("refuse", kind="column"),
            call("sql", text="SELEKT"),
        ),
    ),
    "pyarrow-pandas": Stack(
        requirements="pyarrow pandas",
        keep=("*.pyx", "*.pxi"),  # tracebacks quote them
        code=r"""
import io, pandas, pyarrow, pyarrow.compute, pyarrow.parquet

pyarrow.set_cpu_count(1)

def frame(rows):
    return pandas.DataFrame(
        {"key": [f"k{one % 7}" for one in range(rows)], "value": [one * 1.5 % 11 for one in range(rows)]}
    )

def store(rows, compression="zstd"):
    file = io.BytesIO()
    frame(rows).to_parquet(file, compression=compression)
    table = pyarrow.parquet.read_table(file)
    return [
        table.num_rows,
        file.tell(),
        table.group_by("key").aggregate([("value", "sum")]).sort_by("key").to_pydict(),
    ]

def describe(rows):
    return frame(rows).describe().to_json()

def read(text):
    import pyarrow.csv, pyarrow.json

    as_csv, as_json = pyarrow.csv.read_csv, pyarrow.json.read_json
    return (as_json if text.startswith("{") else as_csv)(io.BytesIO(text.encode())).to_pydict()

def dataset(rows):
    import pyarrow.dataset

    table = pyarrow.Table.from_pandas(frame(rows))
    pyarrow.dataset.write_dataset(
        table, "/tmp/set", format="ipc", partitioning=["key"], existing_data_behavior="overwrite_or_ignore"
    )
    found = pyarrow.dataset.dataset("/tmp/set", format="ipc", partitioning=["key"])
    return (
        found.to_table(filter=pyarrow.dataset.field("value") > 9)
        .sort_by([("key", "ascending"), ("value", "descending")])
        .to_pydict()
    )

def kinds(rows):
    table = pyarrow.Table.from_pandas(frame(rows))
    nested = pyarrow.array(
        [[{"a": 1, "b": "x"}], None, []], pyarrow.list_(pyarrow.struct([("a", "i8"), ("b", "string")]))
    )
    text = pyarrow.compute.replace_substring_regex(table["key"], "k([0-9])", "\\1!")
    moment = pyarrow.array([1709164800], pyarrow.timestamp("s", "Europe/Vienna"))
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return [
        str(nested),
        text[:3].to_pylist(),
        pyarrow.compute.quantile(table["value"], [0.3]).to_pylist(),
        str(moment.type),
        moment.view("i8").to_pylist(),
        pyarrow.ipc.open_stream(sink.getvalue()).read_all().equals(table),
        table.join(table.slice(0, 3), "key").num_rows,
        pyarrow.array(["1.25"]).cast(pyarrow.decimal128(9, 3)).to_pylist(),
        str(table.schema),
    ]

def cast(text):
    return pyarrow.compute.cast(pyarrow.array([text]), pyarrow.int64())

def broken():
    return pyarrow.parquet.read_table(pyarrow.BufferReader(b"PAR1" + b"x" * 90 + b"PAR1"))
""",
        seen=(call("store", rows=6), call("describe", rows=9)),
        held_back=(
            call("store", rows=50_000, compression="brotli"),
            call("store", rows=20, compression="none such"),
            call("read", text="a,b\n1,x\n2,2024-02-29\n"),
            call("read", text='{"a": [1, {"b": 2}]}'),
            call("dataset", rows=40),
            call("kinds", rows=30),
            call("cast", text="no number"),
            call("broken"),
        ),
    ),
    "scikit-learn": Stack(
        requirements="scikit-learn",
        code="""
import numpy
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

def table(rows):
    return numpy.random.default_rng(7).normal(size=(rows, 4))

def wanted(rows):
    return (table(rows)[:, 0] + table(rows)[:, 1] ** 2 > 0.5).astype(int)

def linear(rows):
    return LogisticRegression().fit(table(rows), wanted(rows)).predict_proba(table(3)).tolist()

def near(rows, **settings):
    return KNeighborsClassifier(3, **settings).fit(table(rows), wanted(rows)).predict(table(9)).tolist()

def trees(rows):
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
    )

    several = (
        RandomForestClassifier(5, random_state=7),
        GradientBoostingClassifier(n_estimators=5),
        HistGradientBoostingClassifier(max_iter=5),
    )
    found = [one.fit(table(rows), wanted(rows)).predict_proba(table(3)).tolist() for one in several]
    return [
        found,
        IsolationForest(n_estimators=5, random_state=7).fit(table(rows)).score_samples(table(3)).tolist(),
    ]

def kernels(rows):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.svm import SVC, NuSVR

    several = SVC(kernel="poly"), NuSVR(), GaussianProcessRegressor(random_state=7)
    return [one.fit(table(rows), wanted(rows)).predict(table(3)).round(9).tolist() for one in several]

def groups(rows):
    from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
    from sklearn.decomposition import NMF, PCA
    from sklearn.manifold import TSNE

    found = [
        one.fit_predict(table(rows)).tolist()
        for one in (KMeans(3, random_state=7), DBSCAN(0.8), AgglomerativeClustering(3))
    ]
    return [
        found,
        PCA(2).fit_transform(table(rows)).round(9).tolist(),
        NMF(2, random_state=7).fit(abs(table(rows))).reconstruction_err_,
        TSNE(perplexity=3, max_iter=250, init="pca", random_state=7).fit_transform(table(12)).shape,
    ]

def pipeline(texts):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import ComplementNB
    from sklearn.pipeline import make_pipeline
    from sklearn.metrics import classification_report

    search = GridSearchCV(make_pipeline(TfidfVectorizer(), ComplementNB()), {"complementnb__alpha": [0.1, 1]}, cv=2)
    kinds = [len(one) % 2 for one in texts]
    search.fit(texts, kinds)
    model = LogisticRegression().fit(table(50), wanted(50))
    return [
        search.best_params_,
        classification_report(kinds, search.predict(texts), zero_division=0),
        search._repr_html_()[:99],
        permutation_importance(model, table(50), wanted(50), random_state=7, n_repeats=2).importances_mean.tolist(),
    ]
""",
        seen=(call("linear", rows=50), call("near", rows=50)),
        held_back=(
            call("linear", rows=20_000),
            call("near", rows=900, algorithm="ball_tree", weights="distance"),
            call("near", rows=90, metric="none such"),
            call("trees", rows=80),
            call("kernels", rows=40),
            call("groups", rows=30),
            call("pipeline", texts=["a bc", "bcd a", "ef gh", "gh ab cd", "ab", "cd e", "fg hi", "ij klm"]),
            call("linear", rows=0),
        ),
    ),
    "scipy": Stack(
        requirements="scipy",
        code="""
import numpy
from scipy import optimize, stats

def table(rows, kind="float64"):
    return (numpy.random.default_rng(7).normal(size=(rows, 3)) * 9).astype(kind)

def minimize(start, method="BFGS"):
    found = optimize.minimize(optimize.rosen, start, method=method)
    return [found.x.tolist(), found.nfev, found.message]

def test(rows):
    return [list(stats.ttest_ind(*table(rows).T[:2])), stats.norm.ppf([0.1, 0.5]).tolist()]

def solve(rows, kind):
    from scipy import linalg

    found = table(rows, kind)[:3]
    return [
        linalg.lu(found)[2].tolist(),
        linalg.expm(found / 99).tolist(),
        linalg.schur(found)[0].tolist(),
        linalg.cholesky(found).tolist(),
    ]

def large(rows):
    from scipy import sparse
    from scipy.sparse import csgraph, linalg

    found = sparse.diags_array([1.0, -2, 1], offsets=[-1, 0, 1], shape=(rows, rows)).tocsc()
    return [
        linalg.eigsh(found, 3, v0=numpy.ones(rows))[0].round(9).tolist(),
        linalg.spsolve(found, numpy.ones(rows))[:3].tolist(),
        csgraph.dijkstra(abs(found), indices=0)[-1],
        linalg.gmres(found, numpy.ones(rows), maxiter=2)[1],
    ]

def signals(rows):
    from scipy import fft, integrate, interpolate, ndimage, signal

    found = table(rows)[:, 0]
    path = integrate.solve_ivp(lambda time, at: [at[1], -at[0]], [0, 3], [1.0, 0], method="LSODA")
    return [
        signal.sosfilt(signal.butter(3, 0.2, output="sos"), found).tolist(),
        fft.dct(found).tolist(),
        path.y[:, -1].tolist(),
        interpolate.CubicSpline(range(rows), found)(1.5).tolist(),
        ndimage.gaussian_filter(table(rows), 1).sum(),
        integrate.quad(numpy.exp, 0, 1),
        signal.find_peaks(found)[0].tolist(),
    ]

def space(rows):
    from scipy import spatial, special
    from scipy.cluster import hierarchy

    found = table(rows)
    turned = spatial.transform.Rotation.from_euler("xyz", [1, 2, 3]).as_quat().tolist()
    return [
        spatial.ConvexHull(found).volume,
        spatial.cKDTree(found).query(found[:2], 3)[0].tolist(),
        hierarchy.linkage(found, "ward")[-1].tolist(),
        special.jv([0, 1.5], 2.5).tolist(),
        special.betainc(1.5, 2, 0.3),
        special.ellipk(0.2),
        special.zeta(3),
        turned,
    ]

def flat():
    from scipy import spatial

    try:
        return spatial.Delaunay([[0, 0], [1, 1], [2, 2]])
    except spatial.QhullError as problem:
        return str(problem).splitlines()[0]  # the rest tells a number that is drawn

def program():
    found = optimize.linprog([-1, -2], A_ub=[[1, 1]], b_ub=[4], integrality=[1, 1], bounds=(0, 3.5))
    return [
        found.x.tolist(),
        found.message,
        optimize.linear_sum_assignment(abs(table(3)))[1].tolist(),
        optimize.least_squares(lambda x: x**2 - 2, [1.0]).x.tolist(),
        optimize.brentq(numpy.cos, 0, 3),
        optimize.differential_evolution(optimize.rosen, [(-2, 2)] * 2, rng=7, maxiter=5).x.tolist(),
    ]
""",
        seen=(call("minimize", start=[0.5, 0.7]), call("test", rows=30)),
        held_back=(
            call("minimize", start=[0.1] * 9, method="SLSQP"),
            call("minimize", start=[0.1] * 3, method="L-BFGS-B"),
            call("minimize", start=[0.1] * 3, method="none such"),
            call("solve", rows=3, kind="complex64"),
            call("large", rows=60),
            call("signals", rows=40),
            call("space", rows=30),
            call("flat"),
            call("program"),
        ),
    ),
    "shapely": Stack(
        requirements="shapely",
        code="""
import shapely
from shapely.geometry import MultiPoint, Point, box

def points(count):
    return [Point((one * 37) % 101, (one * one) % 89) for one in range(count)]

def area(radius):
    return [Point(1, 2).buffer(radius).area, box(0, 0, 3, 4).intersection(Point(0, 0).buffer(radius)).wkt]

def hull(count):
    return MultiPoint(points(count)).convex_hull.wkt

def mesh(count):
    from shapely import ops

    found = shapely.voronoi_polygons(MultiPoint(points(count)))
    return [
        len(found.geoms),
        shapely.delaunay_triangles(MultiPoint(points(count))).area,
        ops.unary_union([one.buffer(5) for one in points(count)]).wkt,
        shapely.concave_hull(MultiPoint(points(count)), 0.3).wkt,
        ops.polylabel(MultiPoint(points(count)).convex_hull, 1).wkt,
    ]

def search(count):
    tree = shapely.STRtree([one.buffer(4) for one in points(count)])
    line = shapely.LineString(points(count)[:9])
    return [
        sorted(tree.query(line, "crosses").tolist()),
        line.simplify(9).wkt,
        line.interpolate(0.3, normalized=True).wkt,
        line.hausdorff_distance(Point(3, 4)),
        shapely.node(line).length,
        shapely.make_valid(shapely.Polygon(points(9))).area,
    ]

def texts(text):
    found = shapely.from_wkt(text)
    return [
        shapely.to_wkb(found, hex=True, include_srid=True),
        shapely.to_geojson(found),
        found.is_valid,
        shapely.is_valid_reason(found),
        shapely.from_geojson(shapely.to_geojson(found)).equals(found),
        shapely.get_coordinates(found).tolist(),
        found.svg(),
    ]

def binary(text):
    return shapely.from_wkb(bytes.fromhex(text))
""",
        seen=(call("area", radius=2), call("hull", count=20)),
        held_back=(
            call("hull", count=50_000),
            call("mesh", count=30),
            call("search", count=50),
            call("texts", text="POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"),
            call("texts", text="POLYGON ((0 0, 2 x"),
            call("binary", text="0103"),
        ),
    ),
    "spacy": Stack(
        requirements="spacy",
        code="""
import spacy

english = spacy.blank("en")
english.add_pipe("sentencizer")
english.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": [{"LOWER": "acme"}]}])

def words(text):
    found = english(text)
    return [[one.text for one in found], [one.text for one in found.sents], [one.label_ for one in found.ents]]

def shapes(text):
    return [[one.shape_, one.like_num, one.is_stop, one.norm_] for one in english(text)]

def other(language, text):
    found = spacy.blank(language)
    return [[one.text for one in found(text)], sorted(found.Defaults.stop_words)[:5]]

def match(text):
    from spacy.matcher import Matcher, PhraseMatcher

    found = english(text)
    matcher, phrases = Matcher(english.vocab), PhraseMatcher(english.vocab, attr="LOWER")
    matcher.add("number", [[{"LIKE_NUM": True}, {"TEXT": {"REGEX": "^[a-z]+$"}, "OP": "+"}]], greedy="LONGEST")
    phrases.add("phrase", [english("buys it")])
    return [matcher(found), phrases(found)]

def store(text):
    from spacy import displacy
    from spacy.tokens import Doc, DocBin, Span

    found = english(text)
    found.spans["all"] = [Span(found, 0, 2, label="A")]
    again = list(DocBin(["LEMMA", "ENT_TYPE"], docs=[found]).get_docs(english.vocab))[0]
    return [
        displacy.render(found, style="ent"),
        displacy.render(found, style="span", options={"spans_key": "all"}),
        again.to_json(),
        len(english.to_bytes()) > 1000,
        Doc(english.vocab, words=["a", "b"], tags=["X", "Y"]).to_array(["TAG"]).shape,
    ]

def learn(times):
    from spacy.training import Example

    spacy.util.fix_random_seed(7)
    found = spacy.blank("de")
    found.add_pipe("textcat").add_label("good")
    found.get_pipe("textcat").add_label("bad")
    made = [
        Example.from_dict(found.make_doc(text), {"cats": {"good": good, "bad": 1 - good}})
        for text, good in (("ja", 1), ("nein", 0))
    ]
    found.initialize(lambda: made)
    losses = [found.update(made)["textcat"] for _ in range(times)]
    return [[float(one) for one in losses], found("ja nein").cats]

def refuse(kind):
    return spacy.blank("en").add_pipe("none such") if kind == "pipe" else spacy.load("en_core_web_sm")
""",
        seen=(
            call("words", text="Acme buys it. Nobody knows why, doesn't he?"),
            call("shapes", text="Twenty-one of 300 in L.A."),
        ),
        held_back=(
            call("words", text="Acme paid $3.5bn (in U.K.)... " * 300),
            call("other", language="de", text="z.B. gibt's das."),
            call("other", language="fr", text="L'ordinateur d'aujourd'hui"),
            call("other", language="hu", text="A 3-as busz."),
            call("match", text="Acme buys it with 3 hands at noon"),
            call("store", text="Acme buys it."),
            call("learn", times=2),
            call("refuse", kind="pipe"),
            call("refuse", kind="model"),
            call("other", language="none such", text=""),
        ),
    ),
    "statsmodels": Stack(
        requirements="statsmodels",
        code="""
import numpy, pandas, statsmodels.api

def frame(rows):
    random = numpy.random.default_rng(7)
    found = pandas.DataFrame(random.normal(size=(rows, 2)), columns=["a", "b"])
    found["group"] = ["xyz"[one % 3] for one in range(rows)]
    return found.assign(
        y=found.a * 2 - found.b + random.normal(size=rows), hit=(found.a > found.b + 0.1).astype(int)
    )

def linear(rows):
    found = statsmodels.api.OLS(frame(rows).y, statsmodels.api.add_constant(frame(rows)[["a", "b"]])).fit()
    return [found.params.to_dict(), found.rsquared, found.pvalues.to_dict()]

def intervals(rows):
    return (
        statsmodels.api.WLS(frame(rows).y, frame(rows)[["a", "b"]], weights=range(1, rows + 1))
        .fit()
        .conf_int()
        .to_dict()
    )

def general(formula, family="Poisson"):
    import statsmodels.formula.api

    kind = getattr(statsmodels.api.families, family)()
    found = statsmodels.formula.api.glm(formula, frame(90), family=kind).fit()
    return [found.params.round(9).to_dict(), found.deviance.round(9), found.nobs]

def series(rows):
    from statsmodels.tsa.api import ARIMA, ExponentialSmoothing, acf, adfuller

    found = frame(rows).y.cumsum()
    return [
        ARIMA(found, order=(1, 1, 0)).fit().params.round(5).to_dict(),
        acf(found).round(9).tolist(),
        round(adfuller(found, maxlag=2)[0], 9),
        ExponentialSmoothing(found, trend="add").fit().forecast(2).round(4).tolist(),
    ]

def rest(rows):
    from statsmodels.nonparametric.smoothers_lowess import lowess
    from statsmodels.stats.anova import anova_lm
    from statsmodels.stats.multicomp import pairwise_tukeyhsd
    from statsmodels.formula.api import mixedlm, ols, quantreg

    found = frame(rows)
    return [
        lowess(found.y, found.a)[:3].tolist(),
        anova_lm(ols("y ~ C(group) * a", found).fit()).round(9).to_json(),
        str(pairwise_tukeyhsd(found.y, found.group)),
        mixedlm("y ~ a", found, groups="group").fit().params.round(4).to_dict(),
        quantreg("y ~ a", found).fit(0.3).params.round(5).to_dict(),
    ]
""",
        seen=(call("linear", rows=50), call("intervals", rows=50)),
        held_back=(
            call("linear", rows=20_000),
            call("general", formula="hit ~ a + bs(b, df=4) + C(group)"),
            call("general", formula="hit ~ a", family="Binomial"),
            call("general", formula="y ~ a +* b"),
            call("series", rows=80),
            call("rest", rows=60),
            call("linear", rows=0),
        ),
    ),
    "sympy": Stack(
        requirements="sympy",
        code="""
import sympy
from sympy.abc import n, x, y

def solve(text):
    return [str(one) for one in sympy.solve(sympy.sympify(text), x)]

def integrate(text):
    found = sympy.integrate(sympy.sympify(text), x)
    return [sympy.latex(found), sympy.srepr(found.diff(x))]

def series(text):
    return [str(sympy.series(sympy.sympify(text), x, 0, 6)), str(sympy.limit(sympy.sympify(text), x, 0))]

def matrix(size):
    found = sympy.Matrix(size, size, lambda row, column: sympy.Rational(1, row + column + 1))
    return [str(found.det()), str(found.inv()), str(found.charpoly(x)), str(found.rref()[0]), sympy.pretty(found)]

def rest():
    from sympy.combinatorics import SymmetricGroup
    from sympy.physics.units import convert_to, kilometer, mile
    from sympy.stats import E, Normal

    f = sympy.Function("f")
    return [
        str(SymmetricGroup(4).order()),
        str(sympy.factorint(2**67 - 1)),
        str(sympy.simplify_logic((x & y) | (x & ~y))),
        str(convert_to(mile, kilometer).n(9)),
        str(E(Normal("z", 1, 2) ** 2)),
        str(sympy.dsolve(f(x).diff(x, 2) + f(x))),
        str(sympy.summation(n**-2, (n, 1, sympy.oo))),
        sympy.ccode(sympy.sin(x) ** y),
    ]
""",
        seen=(call("solve", text="x**2 - 5*x + 6"), call("integrate", text="x*exp(x)")),
        held_back=(
            call("integrate", text="cos(x)/(1 + x**2)**0"),
            call("solve", text="x**3 - 3*x + 1"),
            call("solve", text="x +* 2"),
            call("series", text="sin(x)/x"),
            call("matrix", size=4),
            call("rest"),
        ),
    ),
    "tokenizers": Stack(
        requirements="tokenizers",
        environment=("TOKENIZERS_PARALLELISM=false", "RAYON_NUM_THREADS=1"),
        code="""
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = ["the quick brown fox", "jumps over the lazy dog", "the dog barks, the fox runs"] * 5

def pairs(text):
    found = Tokenizer(models.BPE(unk_token="?"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.train_from_iterator(TEXTS, trainers.BpeTrainer(special_tokens=["?"], vocab_size=60, show_progress=False))
    return [found.encode(text).tokens, found.encode(text).offsets, found.get_vocab_size()]

def count(text):
    return sum(len(one) for one, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text))

def bytes_(text):
    found = Tokenizer(models.BPE())
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), vocab_size=300, show_progress=False
    )
    found.train_from_iterator(TEXTS, trainer)
    ids = found.encode(text).ids
    return [ids, found.decode(ids)]

def pieces(text):
    found = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    found.pre_tokenizer, found.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    found.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(special_tokens=special, vocab_size=60, show_progress=False)
    )
    found.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    found.enable_padding(length=20)
    found.enable_truncation(12)
    several = found.encode_batch([text, (text, "the dog")])
    return [[one.tokens for one in several], [one.attention_mask for one in several], found.decode(several[0].ids)]

def unigrams(text):
    found = Tokenizer(models.Unigram())
    found.pre_tokenizer, found.normalizer = pre_tokenizers.Metaspace(), normalizers.NFKC()
    found.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=40, unk_token="?", special_tokens=["?"], show_progress=False)
    )
    again = Tokenizer.from_str(found.to_str())
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.Punctuation(), pre_tokenizers.UnicodeScripts()]
    )
    return [
        again.encode(text).tokens,
        split.pre_tokenize_str(text),
        normalizers.Replace("o", "0").normalize_str(text),
    ]

def load(text):
    return Tokenizer.from_str(text)
""",
        seen=(call("pairs", text="the lazy fox"), call("count", text="a b c")),
        held_back=(
            call("pairs", text="the lazy dog, again and again. " * 2000),
            call("bytes_", text="\u00fcber the \U0001f98a"),
            call("pieces", text="The d\u00f6g jumps"),
            call("unigrams", text="the dog 12\u0416\u4e2d!"),
            call("load", text='{"model": 3}'),
            call("load", text="{"),
        ),
    ),
    "xgboost": Stack(
        requirements="xgboost pandas",
        code="""
import numpy, xgboost

def table(rows, kind="float64"):
    return (numpy.random.default_rng(7).normal(size=(rows, 5)) * 9).astype(kind)

def trained(rows=300, kind="float64", rounds=10, **settings):
    found = table(rows, kind)
    data = xgboost.DMatrix(found, (found[:, 0] + found[:, 1] ** 2 > 9).astype(int))
    return xgboost.train({"nthread": 1, "seed": 7, **settings}, data, num_boost_round=rounds)

def predict(rows):
    return trained(objective="binary:logistic").predict(xgboost.DMatrix(table(rows))).tolist()

def learn(**settings):
    try:
        return trained(**settings).predict(xgboost.DMatrix(table(3))).tolist()
    except xgboost.core.XGBoostError as problem:
        return str(problem).splitlines()[0].rpartition("] ")[2]  # it has the time, and addresses

def explain(rows):
    model, data = trained(), xgboost.DMatrix(table(rows))
    again = xgboost.Booster({"nthread": 1}, model_file=model.save_raw("ubj"))
    return [
        again.predict(data, pred_interactions=True).tolist(),
        model.predict(data, pred_leaf=True).tolist(),
        model.get_dump()[0],
        model.get_score(importance_type="cover"),
        model.trees_to_dataframe().head(3).to_json(),
        len(model.save_config()),
    ]

def frames(rows):
    import pandas

    found = pandas.DataFrame(table(rows), columns=list("abcde")).assign(
        g=pandas.Categorical(["x", "y"] * (rows // 2))
    )
    model = xgboost.XGBRanker(n_estimators=4, n_jobs=1, enable_categorical=True, random_state=7)
    model.fit(found, [one % 4 for one in range(rows)], qid=[one // 10 for one in range(rows)])
    scores = xgboost.cv({"nthread": 1}, xgboost.DMatrix(table(rows), list(range(rows))), 3, nfold=3, seed=7)
    return [model.predict(found)[:5].tolist(), scores.to_dict()]
""",
        seen=(call("predict", rows=3), call("predict", rows=30)),
        held_back=(
            call("learn", rows=8000, kind="float32", tree_method="approx", max_bin=16),
            call("learn", booster="dart", rate_drop=0.5),
            call("learn", booster="gblinear", updater="coord_descent"),
            call("learn", objective="survival:aft"),
            call("learn", objective="none such"),
            call("learn", max_depth=-3),
            call("explain", rows=2),
            call("frames", rows=60),
        ),
    ),
}
"""By name."""
