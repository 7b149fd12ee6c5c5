"""IngestService from Python: columns, Arrow and a stream with acknowledgements.

    pip install grpcio grpcio-tools googleapis-common-protos pyarrow
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/thermocline/ingest/v1/ingest.proto
    python deploy/examples/ingest_python.py 127.0.0.1:4317
"""

import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2
from thermocline.ingest.v1 import ingest_pb2 as pb
from thermocline.ingest.v1 import ingest_pb2_grpc as rpc


def columns(start: int, rows: int) -> pb.Columns:
    """Arrays of values, one for each column: the quick way without Arrow."""
    now = time.time_ns()
    return pb.Columns(
        columns=[
            pb.Column(name="time", timestamps=pb.TimestampArray(unix_nanos=[now + i for i in range(rows)])),
            pb.Column(name="n", int64s=pb.Int64Array(values=range(start, start + rows))),
            pb.Column(name="value", doubles=pb.DoubleArray(values=[i / 2 for i in range(rows)])),
            pb.Column(name="host", dictionary=pb.DictionaryArray(values=["a", "b"], indexes=[i % 2 for i in range(rows)])),
        ]
    )


def write(service: rpc.IngestServiceStub, request: pb.WriteRequest, attempts: int = 5) -> pb.WriteResponse:
    """Writes, and comes back when the server asks for it; the key makes sure that the rows are stored once."""
    request.idempotency_key = request.idempotency_key or str(uuid.uuid4())
    for attempt in range(attempts):
        try:
            return service.Write(request, timeout=30)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or attempt == attempts - 1:
                raise
            time.sleep(retry_delay(error) or 2**attempt / 10)
    raise AssertionError("unreachable")


def retry_delay(error: grpc.RpcError) -> float:
    """Seconds that google.rpc.RetryInfo in the details of the status asks for, or 0."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return info.retry_delay.ToTimedelta().total_seconds()
    return 0.0


def arrow_stream() -> bytes:
    """An Arrow IPC stream: what pandas, polars and pyarrow have already."""
    import pyarrow as pa

    batch = pa.record_batch({"n": pa.array([1, 2], pa.int64()), "value": pa.array([0.5, None])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        service = rpc.IngestServiceStub(channel)
        answer = write(service, pb.WriteRequest(table="readings_py", columns=columns(0, 1000)))
        print("columns:", answer.accepted_rows, "rows in batch", answer.batch_id)
        for rejection in answer.rejections:
            print("row", rejection.row, rejection.column, rejection.message)
        answer = write(service, pb.WriteRequest(table="readings_py", arrow_stream=arrow_stream()))
        print("arrow:", answer.accepted_rows, "rows")
        requests = (
            pb.WriteStreamRequest(request_id=str(i), write=pb.WriteRequest(table="readings_py", columns=columns(i * 100, 100)))
            for i in range(10)
        )
        for answer in service.WriteStream(requests):
            done = answer.WhichOneof("result") == "response"
            print("request", answer.request_id, "stored" if done else answer.error.message)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:4317")
