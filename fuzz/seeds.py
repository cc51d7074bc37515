"""Writes first inputs for the fuzzers into fuzz/corpus/: run it before the first `cargo fuzz run`.

The programs are those that ship, the examples of the documentation and the golden pages; the files are tiny
valid ones of each format, and what the tests' fixtures hold.
"""

import gzip
import io
import json
import pathlib
import re
import struct
import zipfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def programs():
    for path in [*ROOT.glob("stdlib/**/*.taper"), *ROOT.glob("pipelines/*.taper")]:
        yield path.stem, path.read_text()
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/golden/*.md")]
    for page in pages:
        fences = re.findall(r"^```taper[^\n]*\n(.*?)^```", page.read_text(), re.M | re.S)
        for i, text in enumerate(fences):
            yield f"{page.stem}-{i}", text


def safetensors(tensors):
    header, data = {}, b""
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    header["__metadata__"] = {"step": "3"}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def idx(kind, shape, raw):
    return bytes([0, 0, kind, len(shape)]) + b"".join(struct.pack(">I", n) for n in shape) + raw


def npy(descr, shape, raw, fortran=False):
    head = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + raw


def png(channels, bits=8):
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\x00" + bytes(range(3 * channels * bits // 8)) for _ in range(2))
    head = struct.pack(">IIBBBBB", 3, 2, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp():
    body = bytes(range(16))
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 24, 0, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + head + body


def main():
    for name, text in programs():
        for target in ("parser", "elaborator"):
            put(target, name, text)
    floats = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    put("safetensors", "one", safetensors([("a.weight", "F32", [2, 3], floats)]))
    dtypes = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "I64": 8, "F64": 8}
    put("safetensors", "dtypes", safetensors([(d, d, [2], bytes(2 * n)) for d, n in dtypes.items()]))
    put("safetensors", "scalar", safetensors([("x", "I64", [], bytes(8)), ("empty", "F32", [0, 4], b"")]))
    images = idx(8, [2, 3, 4], bytes(range(24)))
    put("idx", "images", images)
    put("idx", "labels", idx(8, [5], bytes(range(5))))
    put("idx", "images.gz", gzip.compress(images, mtime=0))
    for kind, size in [(9, 1), (11, 2), (12, 4), (13, 4), (14, 8)]:
        put("idx", f"kind-{kind}", idx(kind, [2, 2], bytes(range(4 * size))))
    arrays = {
        "f4": npy("<f4", "(2, 3)", floats),
        "u1": npy("|u1", "(4,)", bytes(4)),
        "i8": npy("<i8", "()", bytes(8)),
        "f8": npy(">f8", "(1, 2)", bytes(16), fortran=True),
        "text": npy("<U2", "(2,)", "abcd".encode("utf-32-le")),
    }
    for name, data in arrays.items():
        put("numpy", name, data)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as z:
            for name, data in arrays.items():
                z.writestr(f"{name}.npy", data)
        put("numpy", f"npz-{method}", file.getvalue())
    for channels in (1, 2, 3, 4):
        put("image", f"png-{channels}", bytes([channels]) + png(channels))
    put("image", "png-16", b"\x05" + png(3, 16))
    put("image", "bmp", b"\x06" + bmp())
    gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    webp = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
    import base64

    put("image", "gif", b"\x00" + base64.b64decode(gif))
    put("image", "webp", b"\x0a" + base64.b64decode(webp))
    for path in ROOT.glob("src/graph/**/*.snap"):
        text = path.read_text().split("---\n", 2)[-1]
        put("graph", path.stem.replace(".", "-")[-40:], text)
    put("graph", "small", '(name: "g", regions: [(nodes: [(id: 0, op: Input(name: "x", ty: "f32[n, 3]"), ty: "f32[n, 3]")], outputs: [0])])')
    put("texts", "layout", '(rename: [("down.*.block.*", "down_blocks.*.r.*")], ignore: ["betas*"])')
    put("texts", "metadata", '{"file_name": "a.png", "text": "a shoe", "label": 3}\n{"file_name": "b.png", "text": "b", "label": 4}\n')
    for i, split in enumerate(["train", "train[:9000]", "train[10%:-5]", "test[-1%:]"]):
        put("texts", f"split-{i}", split)
    for i, ty in enumerate(["f32[n, 3]", "i64[2*h + 1, (n + 1) // 2] in unit", "bool[]"]):
        put("texts", f"type-{i}", ty)


if __name__ == "__main__":
    main()
