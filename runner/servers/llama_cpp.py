"""A llama.cpp server from the PyPI wheel `xllamacpp`, for machines without a llama.cpp build of their own.

Prints nothing of its own; it serves until it is stopped.
"""

import argparse
import importlib.metadata
import signal
import threading

from xllamacpp import CommonParams, Server

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--streams", type=int, default=1)
parser.add_argument("--context", type=int, default=4096, help="tokens of one stream")
parser.add_argument("--version", action="version", version=importlib.metadata.version("xllamacpp"))
arguments = parser.parse_args()

parameters = CommonParams()
parameters.model.path = arguments.model
parameters.n_ctx = arguments.context * arguments.streams
parameters.port = arguments.port
parameters.n_parallel = arguments.streams
parameters.cpuparams.n_threads = arguments.threads
parameters.cpuparams_batch.n_threads = arguments.threads
parameters.warmup = True

stop = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.set())
server = Server(parameters)
stop.wait()
