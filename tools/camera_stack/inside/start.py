"""Inside the root: Python again, with the stand-in for buffers loaded and the paths set."""

import os
import sys

os.environ |= {
    "LD_PRELOAD": "/opt/dmabuf.so",
    "LIBCAMERA_LOG_LEVELS": "*:ERROR",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": "/repo/tools/camera_stack/inside:/opt/site:/repo",
    "HOME": "/tmp",
}
os.chdir("/repo")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
