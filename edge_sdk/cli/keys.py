"""`edge-sdk keys`."""

from __future__ import annotations

import click


@click.group()
def keys() -> None:
    """Keys that bundles and reports are signed with, and that devices trust."""


@keys.command("new")
@click.argument("name")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase, and at each signature.")
def new(name: str, passphrase: bool) -> None:
    """Make the key pair NAME in ~/.config/edge-sdk/keys.

    The private file stays on this computer, readable by you alone; NAME.pub goes to the devices
    with the first installation, and to who checks reports.
    """
    from edge_sdk.keys import new_key

    key = new_key(name, passphrase=passphrase)
    click.echo(f"{key.private}  private: keep it here, and a copy in a safe place")
    click.echo(f"{key.public}  public: for `sh install.sh --trust`")
    click.echo(key.fingerprint)


@keys.command("show")
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """Show the public key NAME, or list all keys."""
    from edge_sdk.keys import all_keys, keys_folder, read_key

    if name is not None:
        key = read_key(name)
        click.echo(key.line)
        click.echo(f"{key.public}  {key.fingerprint}", err=True)
        return
    found = all_keys()
    for key in found:
        click.echo(f"{key.name}  {key.fingerprint}")
    if not found:
        click.echo(f"no keys in {keys_folder()}: make one with `edge-sdk keys new NAME`", err=True)
