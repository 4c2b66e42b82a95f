#!/bin/sh
# Python with picamera2 on libcamera's virtual pipeline: tools/camera_stack/run.sh script.py ...
# EDGE_SDK_LIBCAMERA: the folder that tools/camera_stack has filled, .cache/libcamera by default.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
stack=${EDGE_SDK_LIBCAMERA:-$root/.cache/libcamera}
[ -e "$stack/ready.json" ] || {
  echo "$stack holds no libcamera: python tools/camera_stack builds it" >&2
  exit 1
}
site=$(ls -d "$stack"/prefix/lib/python3*/site-packages)
export LD_PRELOAD="$stack/dmabuf.so"
export LD_LIBRARY_PATH="$stack/prefix/lib"
export LIBCAMERA_LOG_LEVELS='*:ERROR'
export PYTHONPATH="$here/inside:$site:$root"
exec "$stack/venv/bin/python" "$@"
