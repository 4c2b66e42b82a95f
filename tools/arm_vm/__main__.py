"""The whole path on an arm64 virtual machine; see docs/arm-vm.md.

python tools/arm_vm build           kernel, initramfs and disk, once
python tools/arm_vm run ARTIFACT    builds, then bundle, install.sh, systemd, camera, answers
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vm_image import build
from vm_run import boot, find_qemu, make_stick, same_here, summary

from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.files import write_whole

ROOT = Path(__file__).resolve().parents[2]


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="arm_vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("build", "run"))
    parser.add_argument("artifact", nargs="?", type=Path, help="an integer model's folder")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".cache" / "arm_vm", help="of the machine"
    )
    parser.add_argument("--out", type=Path, help="where results go [last/ in the folder]")
    return parser


def main(arguments: list[str] | None = None) -> int:
    given = options().parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        find_qemu()
        if given.task == "run" and given.artifact is None:
            raise UsageError("run needs an ARTIFACT, as `edge-sdk convert --to int8` makes")
        folder = build(given.folder, say)
        if given.task == "run":
            out = (given.out or folder / "last").resolve()
            out.mkdir(parents=True, exist_ok=True)
            stick = make_stick(folder, given.artifact, out / "stick.ext4", say)
            heard = boot(folder, stick, out / "console.log", say)
            if heard.steps.get("frames", {}).get("png"):
                frames = heard.steps["frames"]
                frames["compared"] = same_here(given.artifact, frames, out / "frames")
                del frames["png"]
            record = {"qemu": heard.qemu, "took_s": heard.took_s, "steps": heard.steps}
            write_whole(out / "results.json", (json.dumps(record, indent=1) + "\n").encode())
            print(summary(heard.steps))
            say(f"{heard.took_s:.0f} s from power on to power off; all of it in {out}/results.json")
            return int(any("error" in line for line in heard.steps.values()))
    except EdgeError as e:
        say(f"error: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
