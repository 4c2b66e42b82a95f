"""The guest's program: edge-classify as it is, then one mark for the counting qemu.

python loop_guest.py MODEL OPTIONS of edge-classify
"""

from edge_sdk.benchmark.emulated_invokes import mark
from edge_sdk.cli.live import main

main()
mark()
