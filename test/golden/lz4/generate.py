"""Writes frames.json with the lz4 package: name of the content and options -> LZ4 frame, base64. The contents are made anew by the test.

    python generate.py > frames.json
"""

import base64
import json

import lz4.frame as lz4

text = "".join(f"line {i % 50 + i // 4_000}\n" for i in range(12_000)).encode()
noise = bytearray()
state = 1
for _ in range(600):
    state = (state * 1_103_515_245 + 12_345) % 2**31
    noise.append(state >> 16 & 255)
contents = {"text": text, "noise": bytes(noise), "nothing": b"", "one": b"x", "run": b"a" * 70_000}

frames = {}
for name, content in contents.items():
    for linked in (True, False):
        for checksums in (True, False):
            for size in (True, False):
                frames[f"{name}, {'linked' if linked else 'independent'}, {'checksums' if checksums else 'bare'}, {'sized' if size else 'unsized'}"] = lz4.compress(
                    content, block_size=lz4.BLOCKSIZE_MAX64KB, block_linked=linked, content_checksum=checksums, block_checksum=checksums, store_size=size
                )
frames["text, blocks of 4 MiB"] = lz4.compress(text, block_size=lz4.BLOCKSIZE_MAX4MB, compression_level=9)
print(json.dumps({name: base64.b64encode(frame).decode() for name, frame in frames.items()}, indent=0))
