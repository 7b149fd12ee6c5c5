"""Writes to a Thermocline by Arrow Flight: flight.py types|ingest|acks|stream ADDRESS ... ; one line of JSON on stdout."""

import json
import os
import sys
import threading
import time
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl

BASE_NS = 1_700_000_000_000_000_000


def numbered(first, count):
    """A table in which every value follows from `id`, one column of each type."""
    ids = pa.array(range(first, first + count), pa.int64())
    text = pc.cast(ids, pa.string())
    offsets = pa.array(range(0, 2 * count + 1, 2), pa.int32())
    single = pa.array(range(count + 1), pa.int32())
    twice = pa.array([i for i in range(first, first + count) for _ in (0, 1)], pa.int64())

    def modulo(by):
        return pc.subtract(ids, pc.multiply(pc.divide(ids, by), by))

    def decimal(digits, by):
        wide = (pa.decimal128 if digits <= 38 else pa.decimal256)(19, 0)
        return pc.multiply(pc.cast(ids, wide), pa.scalar(Decimal(by)))

    prefixed = pc.binary_join_element_wise("v", text, "")
    long_text = pc.binary_join_element_wise("a text that is too long for a view: v", text, "")
    quarters = pc.cast(pc.divide(pc.cast(modulo(1000), pa.float64()), 4.0), pa.float32())
    pairs = pc.take(quarters, pc.divide(pa.array(range(2 * count), pa.int64()), 2))
    keys = pc.binary_join_element_wise("k", pc.cast(modulo(7), pa.string()), "")
    times = pc.add(pc.multiply(ids, 1_000_003), BASE_NS)
    columns = {
        "ts": pc.cast(times, pa.timestamp("ns", "UTC")),
        "id": ids,
        "flag": pc.equal(modulo(3), 0),
        "i8": pc.cast(pc.subtract(modulo(256), 128), pa.int8()),
        "i16": pc.cast(pc.subtract(modulo(65536), 32768), pa.int16()),
        "i32": pc.cast(pc.subtract(ids, 2**31), pa.int32()),
        "u8": pc.cast(modulo(256), pa.uint8()),
        "u16": pc.cast(modulo(65536), pa.uint16()),
        "u32": pc.add(pc.cast(ids, pa.uint32()), pa.scalar(4_000_000_000, pa.uint32())),
        "u64": pc.add(pc.cast(ids, pa.uint64()), pa.scalar(2**63, pa.uint64())),
        "f16": pc.cast(quarters, pa.float16()),
        "f32": quarters,
        "f64": pc.divide(pc.cast(ids, pa.float64()), 8.0),
        "maybe": pc.if_else(pc.equal(modulo(2), 0), ids, pa.scalar(None, pa.int64())),
        "text": prefixed,
        "large_text": pc.cast(prefixed, pa.large_string()),
        "view_text": pc.cast(long_text, pa.string_view()),
        "word": keys.dictionary_encode(),
        "bytes": pc.cast(text, pa.binary()),
        "view_bytes": pc.cast(pc.cast(text, pa.binary()), pa.binary_view()),
        "fixed_bytes": pc.cast(pc.cast(pc.utf8_lpad(text, 8, "0"), pa.binary()), pa.binary(8)),
        "day": pc.cast(pc.cast(modulo(30000), pa.int32()), pa.date32()),
        "day_ms": pc.cast(pc.multiply(modulo(30000), 86_400_000), pa.date64()),
        "at_s": pc.cast(pc.add(ids, 1_700_000_000), pa.timestamp("s", "UTC")),
        "at_ms": pc.cast(pc.add(ids, 1_700_000_000_000), pa.timestamp("ms", "UTC")),
        "at_us": pc.cast(pc.add(ids, 1_700_000_000_000_000), pa.timestamp("us")),
        "took": pc.cast(ids, pa.duration("ms")),
        "price": decimal(38, "-0.0625"),
        "big": decimal(76, "12345678901234567.00000000000000000001"),
        "place": pa.StructArray.from_arrays([ids, prefixed], ["id", "name"]),
        "vector": pa.FixedSizeListArray.from_arrays(pairs, 2),
        "ints": pa.ListArray.from_arrays(offsets, pc.cast(twice, pa.int32())),
        "longs": pa.ListArray.from_arrays(offsets, twice),
        "doubles": pa.ListArray.from_arrays(offsets, pc.divide(pc.cast(twice, pa.float64()), 4.0)),
        "texts": pa.LargeListArray.from_arrays(pc.cast(offsets, pa.int64()), pc.cast(twice, pa.string())),
        "labels": pa.MapArray.from_arrays(single, keys, prefixed),
    }
    return pa.table(columns)


def batches(rows, step):
    for first in range(0, rows, step):
        yield from numbered(first, min(step, rows - first)).combine_chunks().to_batches()


def types(address, table, rows, tier, compression):
    """DoPut of `rows` rows of every type in compressed bodies, acknowledged batch by batch."""
    client = fl.connect(f"grpc://{address}")
    write_options = pa.ipc.IpcWriteOptions(compression=compression)
    options = fl.FlightCallOptions(headers=[(b"x-tier", tier.encode())], write_options=write_options)
    schema = numbered(0, 1).schema
    writer, reader = client.do_put(fl.FlightDescriptor.for_path(table), schema, options=options)
    sent = 0
    for batch in batches(rows, 20_000):
        writer.write_with_metadata(batch, b"%d" % sent)
        assert reader.read().to_pybytes() == b"%d" % sent
        sent += 1
    writer.done_writing()
    writer.close()
    return {"rows": rows, "batches": sent, "columns": len(schema)}


def ingest(address, table, rows, tier):
    """adbc_ingest in its four modes; the last leaves `rows` rows."""
    import adbc_driver_flightsql.dbapi as dbapi

    schema = numbered(0, 1).schema
    counts = {}
    with dbapi.connect(f"grpc://{address}", db_kwargs={"username": "anna", "password": "x"}) as connection:
        with connection.cursor() as cursor:
            def run(mode, data):
                try:
                    return cursor.adbc_ingest(table, data, mode=mode, catalog_name=tier)
                except dbapi.Error as error:
                    return type(error).__name__

            counts["append to nothing"] = run("append", numbered(0, 10))
            counts["create"] = run("create", numbered(0, 10))
            counts["create again"] = run("create", numbered(0, 10))
            counts["append"] = run("append", numbered(0, 10))
            counts["create_append"] = run("create_append", numbered(0, 10))
            counts["replace"] = run("replace", pa.RecordBatchReader.from_batches(schema, batches(rows, 20_000)))
            cursor.execute("SELECT 1 AS one, 'x' AS text")
            counts["select"] = cursor.fetchall()
        counts["vendor"] = connection.adbc_get_info()["vendor_name"]
        counts["columns"] = connection.adbc_get_table_schema(table).names
    return counts


def acks(address, table, streams, count):
    """Many streams at once, the acknowledgements read while batches are written."""
    batch = pa.table({"n": pa.array(range(10), pa.int64())}).to_batches()[0]
    received = [0] * streams
    failures = []

    def read(reader, index):
        while (metadata := reader.read()) is not None:
            if metadata.to_pybytes() != b"%d" % received[index]:
                failures.append(f"stream {index}: {metadata.to_pybytes()} at {received[index]}")
            received[index] += 1

    def write(index):
        try:
            client = fl.connect(f"grpc://{address}")
            writer, reader = client.do_put(fl.FlightDescriptor.for_path(table), batch.schema)
            thread = threading.Thread(target=read, args=(reader, index))
            thread.start()
            for i in range(count):
                writer.write_with_metadata(batch, b"%d" % i)
            writer.done_writing()
            thread.join()
            writer.close()
        except Exception as error:
            failures.append(str(error))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"acks": sum(received), "failures": failures[:3]}


def stream(address, table, megabytes):
    """One stream of random bytes in rows of 1 KiB."""
    rows = 1024
    started = time.time()
    client = fl.connect(f"grpc://{address}")
    options = fl.FlightCallOptions(headers=[(b"x-tier", b"cold")])
    schema = pa.schema([("n", pa.int64()), ("data", pa.binary(1016))])
    writer, reader = client.do_put(fl.FlightDescriptor.for_path(table), schema, options=options)
    received = 0

    def read():
        nonlocal received
        while reader.read() is not None:
            received += 1

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(megabytes):
        numbers = pa.array(range(i * rows, (i + 1) * rows), pa.int64())
        data = pa.Array.from_buffers(pa.binary(1016), rows, [None, pa.py_buffer(os.urandom(1016 * rows))])
        writer.write_with_metadata(pa.record_batch([numbers, data], schema=schema), b"%d" % i)
    writer.done_writing()
    thread.join()
    writer.close()
    return {"acks": received, "rows": megabytes * rows, "seconds": time.time() - started}


if __name__ == "__main__":
    task, address, table, *rest = sys.argv[1:]
    arguments = [int(value) if value.isdigit() else value for value in rest]
    answer = {"types": types, "ingest": ingest, "acks": acks, "stream": stream}[task](address, table, *arguments)
    print(json.dumps(answer))
