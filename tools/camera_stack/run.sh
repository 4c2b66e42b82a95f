#!/bin/sh
# Python with picamera2 on libcamera's virtual pipeline: tools/camera_stack/run.sh script.py ...
# Runs in this project's folder, seen from inside as /repo. Needs root, for the change of root.
# EDGE_SDK_LIBCAMERA: the folder that tools/camera_stack has filled, .cache/libcamera by default.
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
stack=${EDGE_SDK_LIBCAMERA:-$repo/.cache/libcamera}
[ -e "$stack/ready.json" ] || {
  echo "$stack holds no libcamera: python tools/camera_stack makes it" >&2
  exit 1
}
# The mounts are this process's own and go with it.
exec unshare --mount sh -ec '
root=$1 repo=$2
shift 2
for folder in proc dev tmp; do mount --rbind "/$folder" "$root/$folder"; done
mount --bind "$repo" "$root/repo"
exec chroot "$root" /usr/bin/python3 /repo/tools/camera_stack/inside/start.py "$@"
' sh "$stack/root" "$repo" "$@"
