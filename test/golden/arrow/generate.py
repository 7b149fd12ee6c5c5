"""Writes the Arrow IPC streams of this folder with pyarrow, and the values that they hold.

    python generate.py FOLDER [ROWS]

NAME.arrows is a stream; NAME.json holds its rows, column by column: integers (also of times, dates and unscaled decimals) and
doubles as text, binary as hex, structs and maps as pairs.
"""

import json
import struct
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

FOLDER = Path(sys.argv[1])
ROWS = int(sys.argv[2]) if len(sys.argv) > 2 else 9
NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def plain(value, type):
    """A value as the tests compare it."""
    if value is None:
        return None
    if pa.types.is_dictionary(type):
        return plain(value, type.value_type)
    if pa.types.is_boolean(type) or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if pa.types.is_floating(type):
        return struct.pack(">d", value).hex()
    if pa.types.is_decimal(type):
        return str(int(value.scaleb(type.scale, context=WIDE)))
    if pa.types.is_struct(type):
        return [[field.name, plain(value[field.name], field.type)] for field in type]
    if pa.types.is_map(type):
        return [[plain(key, type.key_type), plain(item, type.item_type)] for key, item in value]
    if isinstance(value, list):
        return [plain(item, type.value_type) for item in value]
    return str(value)


WIDE = __import__("decimal").Context(prec=80)


def numbers(array):
    """The integers behind times and dates; times of day and durations in nanoseconds."""
    type = array.type
    if pa.types.is_date32(type) or pa.types.is_time32(type):
        values = array.view(pa.int32()).to_pylist()
    elif pa.types.is_date64(type) or pa.types.is_timestamp(type) or pa.types.is_time64(type) or pa.types.is_duration(type):
        values = array.view(pa.int64()).to_pylist()
    else:
        return array.to_pylist(), type
    factor = NS[type.unit] if pa.types.is_time(type) or pa.types.is_duration(type) else 1
    return [None if value is None else value * factor for value in values], pa.int64()


def write(name, batches, **options):
    schema = batches[0].schema
    with pa.OSFile(str(FOLDER / f"{name}.arrows"), "wb") as sink:
        with ipc.new_stream(sink, schema, options=ipc.IpcWriteOptions(**options)) as writer:
            for batch in batches:
                writer.write_batch(batch)
    columns = {}
    for i, field in enumerate(schema):
        rows = []
        for batch in batches:
            values, type = numbers(batch.column(i))
            rows += [plain(value, type) for value in values]
        columns[field.name] = rows
    (FOLDER / f"{name}.json").write_text(json.dumps(columns, ensure_ascii=False, separators=(",", ":")) + "\n")


def cycle(values, rows=None):
    rows = ROWS if rows is None else rows
    return [values[row % len(values)] for row in range(rows)]


TEXTS = ["a", None, "", "é", "😀 smile", "temperature of the engine", "x" * 40, "speed"]
BLOBS = [b"\x00\xff", None, b"", b"\x80" * 30, b"abc"]


def integers(type, least, most):
    return pa.array(cycle([1, None, least, most, 0, 5]), type)


def ticks(type, values, storage):
    return pa.array(cycle(values), storage).view(type)


def plain_types():
    day = 86_400
    columns = {
        "i8": integers(pa.int8(), -(2**7), 2**7 - 1),
        "i16": integers(pa.int16(), -(2**15), 2**15 - 1),
        "i32": integers(pa.int32(), -(2**31), 2**31 - 1),
        "i64": integers(pa.int64(), -(2**63), 2**63 - 1),
        "u8": integers(pa.uint8(), 0, 2**8 - 1),
        "u16": integers(pa.uint16(), 0, 2**16 - 1),
        "u32": integers(pa.uint32(), 0, 2**32 - 1),
        "u64": integers(pa.uint64(), 0, 2**64 - 1),
        "f16": pa.array(cycle([1.5, None, -0.0, float("inf"), 65504.0]), pa.float16()),
        "f32": pa.array(cycle([1.5, None, -0.0, float("-inf"), 3.0]), pa.float32()),
        "f64": pa.array(cycle([1.5, None, -0.0, 1e300, 0.1]), pa.float64()),
        "bool": pa.array(cycle([True, None, False]), pa.bool_()),
        "text": pa.array(cycle(TEXTS), pa.string()),
        "large_text": pa.array(cycle(TEXTS), pa.large_string()),
        "bytes": pa.array(cycle(BLOBS), pa.binary()),
        "large_bytes": pa.array(cycle(BLOBS), pa.large_binary()),
        "fixed": pa.array(cycle([b"abc", None, b"\x00\x01\xff"]), pa.binary(3)),
        "day": ticks(pa.date32(), [0, None, 20_000, -1], pa.int32()),
        "date_ms": ticks(pa.date64(), [0, None, 20_000 * day * 1000], pa.int64()),
        "time_s": ticks(pa.time32("s"), [0, None, day - 1], pa.int32()),
        "time_ms": ticks(pa.time32("ms"), [0, None, day * 1000 - 1], pa.int32()),
        "time_us": ticks(pa.time64("us"), [0, None, day * 10**6 - 1], pa.int64()),
        "time_ns": ticks(pa.time64("ns"), [0, None, day * 10**9 - 1], pa.int64()),
        "at_s": ticks(pa.timestamp("s"), [0, None, 1_790_000_000, -1], pa.int64()),
        "at_ms": ticks(pa.timestamp("ms", "UTC"), [0, None, 1_790_000_000_123], pa.int64()),
        "at_us": ticks(pa.timestamp("us", "Europe/Paris"), [0, None, 1_790_000_000_123_456], pa.int64()),
        "at_ns": ticks(pa.timestamp("ns"), [0, None, 1_790_000_000_123_456_789], pa.int64()),
        "took_s": ticks(pa.duration("s"), [0, None, -7], pa.int64()),
        "took_ns": ticks(pa.duration("ns"), [0, None, 10**18], pa.int64()),
        "price": pa.array(cycle([Decimal("1.50"), None, Decimal("-12345678901234567890123456789012345.67")]), pa.decimal128(38, 2)),
        "large_price": pa.array(cycle([Decimal("-1.5"), None, Decimal("9" * 60 + ".125")]), pa.decimal256(76, 3)),
        "cents": pa.array(cycle([Decimal("-1.50"), None, Decimal("1234567.89")]), pa.decimal32(9, 2)),
        "mills": pa.array(cycle([Decimal("-1.500"), None, Decimal("123456789012345.678")]), pa.decimal64(18, 3)),
        "nothing": pa.nulls(ROWS),
        "whole": pa.array(range(ROWS), pa.int64()),
    }
    return pa.record_batch(columns)


def nested_types():
    point = pa.struct([("x", pa.int32()), ("tag", pa.struct([("name", pa.string()), ("on", pa.bool_())]))])
    points = [{"x": 1, "tag": {"name": "a", "on": True}}, None, {"x": None, "tag": None}, {"x": 4, "tag": {"name": None, "on": None}}]
    columns = {
        "list": pa.array(cycle([[1, 2], None, [], [None, 3]]), pa.list_(pa.int64())),
        "names": pa.array(cycle([["x", "é"], None, [], ["", None]]), pa.list_(pa.string())),
        "large_list": pa.array(cycle([[1.5], None, [2.5, None]]), pa.large_list(pa.float64())),
        "triple": pa.array(cycle([[1, 2, 3], None, [4, None, 6]]), pa.list_(pa.float32(), 3)),
        "deep": pa.array(cycle([[[1], []], None, [None, [2, 3]]]), pa.list_(pa.list_(pa.int16()))),
        "point": pa.array(cycle(points), point),
        "points": pa.array(cycle([points[:2], None, [], points[2:]]), pa.list_(point)),
        "map": pa.array(cycle([[("k", "v"), ("é", None)], None, []]), pa.map_(pa.string(), pa.string())),
        "list_view": pa.array(cycle([[1, 2], None, [], [3]]), pa.list_view(pa.int32())),
        "large_list_view": pa.array(cycle([["a"], None, ["b", "c"]]), pa.large_list_view(pa.string())),
    }
    return pa.record_batch(columns)


def view_types(shift):
    texts = (TEXTS + ["another value beyond twelve bytes", "exactly12byt"])[shift:]
    columns = {
        "text": pa.array(cycle(texts), pa.string_view()),
        "bytes": pa.array(cycle(BLOBS), pa.binary_view()),
        "texts": pa.array(cycle([[texts[0], None], None, ["x" * 20]]), pa.list_(pa.string_view())),
        "inline": pa.array(cycle(["a", "bc"]), pa.string_view()),
    }
    return pa.record_batch(columns)


def dictionary_batch(values, items):
    """`values` grow from batch to batch; the dictionary of the list's items is another in each."""
    rows = range(ROWS)
    tag = pa.DictionaryArray.from_arrays(pa.array([None if row % 5 == 4 else row % len(values) for row in rows], pa.int8()), pa.array(values))
    number = pa.DictionaryArray.from_arrays(pa.array([row % 2 for row in rows], pa.uint16()), pa.array([len(values) * 100, 7], pa.int64()))
    item = pa.DictionaryArray.from_arrays(pa.array([row % len(items) for row in rows for _ in range(2)], pa.int32()), pa.array(items))
    offsets = pa.array([2 * row for row in range(ROWS + 1)], pa.int32())
    return pa.record_batch({"tag": tag, "number": number, "items": pa.ListArray.from_arrays(offsets, item)})


def nested_dictionary_batch(words):
    """A dictionary of lists of words of another dictionary, and one inside of a struct."""
    item = pa.DictionaryArray.from_arrays(pa.array([0, 1, len(words) - 1], pa.int32()), pa.array(words))
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3], pa.int32()), item)
    outer = pa.DictionaryArray.from_arrays(pa.array([row % 3 for row in range(ROWS)], pa.int8()), lists)
    tag = pa.DictionaryArray.from_arrays(pa.array([row % len(words) for row in range(ROWS)], pa.int16()), pa.array(words))
    return pa.record_batch({"outer": outer, "struct": pa.StructArray.from_arrays([tag], ["tag"])})


def compressed_batch(rows):
    noise = [(row * 2_654_435_761) % 2**32 for row in range(rows)]
    columns = {
        "same": pa.array([7] * rows, pa.int64()),
        "rising": pa.array(range(rows), pa.int32()),
        "noise": pa.array(noise, pa.uint32()),
        "text": pa.array(cycle(TEXTS, rows), pa.string()),
        "tag": pa.array(cycle(["red", "green", None], rows)).dictionary_encode(),
        "list": pa.array(cycle([[1, 2], None, []], rows), pa.list_(pa.int64())),
        "view": pa.array(cycle(TEXTS, rows), pa.string_view()),
        "one": pa.array([None] * (rows - 1) + [1.5], pa.float64()),
        "empty": pa.array([""] * rows, pa.string()),
    }
    return pa.record_batch(columns)


FOLDER.mkdir(parents=True, exist_ok=True)
write("plain", [plain_types()])
write("nested", [nested_types()])
write("views", [view_types(0), view_types(4)])
grown = [["red", "green"], ["red", "green", "blue"], ["red", "green", "blue", "é"]]
write("delta", [dictionary_batch(values, ["p", "q"]) for values in grown], emit_dictionary_deltas=True)
replaced = [["red", "green"], ["black"], ["white", "é", "red"]]
write("replaced", [dictionary_batch(values, [values[0], "q"]) for values in replaced])
write("inner", [nested_dictionary_batch(words) for words in (["red", "green"], ["red", "green"], ["blue", "é", "red"])])
for codec in ("lz4", "zstd"):
    write(codec, [compressed_batch(ROWS * 8)], compression=codec)
