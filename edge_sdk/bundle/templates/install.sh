#!/bin/sh
# Installs or updates edge-sdk on this device from a signed bundle. No network.
#
#   sudo sh install.sh [--trust KEY.pub] [--allow-older] [--root FOLDER] [X.edge.zip]
#
# --trust names the key that bundles have to be signed with: once, at the first installation.
# Without X.edge.zip it takes the only one beside this script. The signature is verified before
# anything of the bundle runs.
set -eu

fail() {
  echo "error: $*" >&2
  exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
root=/ trust='' older='' bundle='' services=auto
while [ $# -gt 0 ]; do
  case "$1" in
    --trust) [ $# -ge 2 ] || fail "--trust needs a file, KEY.pub"; trust=$2; shift ;;
    --root) [ $# -ge 2 ] || fail "--root needs a folder"; root=$2; shift ;;
    --services) [ $# -ge 2 ] || fail "--services needs auto, systemd or none"; services=$2; shift ;;
    --allow-older) older=--allow-older ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) fail "unknown option $1; valid: --trust, --allow-older, --root, --services" ;;
    *) [ -z "$bundle" ] || fail "give one bundle, not two"; bundle=$1 ;;
  esac
  shift
done

if [ -z "$bundle" ]; then
  for found in "$here"/*.edge.zip; do
    [ -e "$found" ] || fail "no .edge.zip beside $0: name the bundle"
    [ -z "$bundle" ] || fail "several .edge.zip beside $0: name the one to install"
    bundle=$found
  done
fi
[ -r "$bundle" ] || fail "bundle $bundle cannot be read"
[ "$root" != / ] || [ "$(id -u)" = 0 ] || fail "run it as root: sudo sh install.sh ..."
for tool in python3 ssh-keygen; do
  command -v "$tool" >/dev/null || fail "$tool is not here; apt has it as ${tool%-keygen}$(
    [ "$tool" = python3 ] || echo ' (openssh-client)')"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# The system's own Python takes three files out of the archive; none of them is run yet.
python3 -I - "$bundle" "$work" <<'END' || fail "$bundle is no whole bundle: it was cut off or damaged; copy it again"
import sys, zipfile
bundle, work = sys.argv[1:]
try:
    with zipfile.ZipFile(bundle) as z:
        own = [n for n in z.namelist() if n.startswith("wheels/edge_sdk-") and n.count("/") == 1]
        for name, file in (("bundle.json", "bundle.json"), ("bundle.json.sig", "signature"),
                           (own[0], "edge_sdk.whl")):
            with open(work + "/" + file, "wb") as f:
                f.write(z.read(name))
        open(work + "/name", "w").write(own[0])
except KeyError as e:
    sys.exit("%s: %s" % (bundle, "it is not signed" if "sig" in str(e) else e))
except Exception as e:
    sys.exit("%s: %s" % (bundle, e))
END

keys=${root%/}/etc/edge-sdk/trusted_keys
if [ ! -f "$keys" ]; then
  [ -n "$trust" ] || fail "no key is trusted here yet: give --trust KEY.pub, the public key of who signed the bundle"
  [ -r "$trust" ] || fail "key $trust cannot be read"
  read -r kind key _ <"$trust" || true
  [ "$kind" = ssh-ed25519 ] || fail "$trust is no Ed25519 public key: give the .pub file of \`edge-sdk keys new\`"
  keys=$work/trusted_keys
  echo "edge-sdk namespaces=\"edge-sdk-bundle\" $kind $key" >"$keys"
fi
ssh-keygen -Y verify -f "$keys" -I edge-sdk -n edge-sdk-bundle -s "$work/signature" \
  <"$work/bundle.json" >"$work/said" 2>&1 ||
  fail "$bundle is refused: it was changed after it was signed, or signed with a key that is not trusted here ($(tail -n 1 "$work/said"))"

# bundle.json is now believed, and with it the hash of the one file that runs.
python3 -I - "$work" <<'END' || fail "$bundle is refused: its installer is not the one that was signed"
import hashlib, json, sys
work = sys.argv[1]
with open(work + "/bundle.json", encoding="utf-8") as f:
    files = json.load(f)["files"]
with open(work + "/name") as f, open(work + "/edge_sdk.whl", "rb") as wheel:
    sys.exit(files[f.read()]["sha256"] != hashlib.sha256(wheel.read()).hexdigest())
END

set -- --root "$root" --services "$services" install "$bundle" $older
[ -z "$trust" ] || set -- "$@" --trust "$trust"
python3 -I -c 'import sys
sys.path.insert(0, sys.argv.pop(1))
from edge_sdk.ondevice.program import main
sys.exit(main())' "$work/edge_sdk.whl" "$@"
