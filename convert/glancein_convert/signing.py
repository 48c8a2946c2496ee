"""Signing bundles, so that a kiosk takes only those that someone it trusts has released."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from glancein import model_card
from glancein_convert.errors import ConversionError


def new_key(path: Path) -> Path:
    """Write a private key (PEM, readable by its owner only) and beside it the public one, ``<stem>.pub``.

    Returns the public key's path. Raises ConversionError if either is already there or cannot be written.
    """
    public_path = path.with_suffix(".pub")
    if public_path == path:
        raise ConversionError(f"{path} is where the public key goes: name the private one {path.stem}.pem")
    for there in (path, public_path):
        if there.exists():
            raise ConversionError(f"{there} is already there: a key is never overwritten")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)
    except FileExistsError as err:
        raise ConversionError(f"{path} is already there: a key is never overwritten") from err
    except OSError as err:
        raise ConversionError(f"cannot write {path}: {err.strerror}") from err
    public_path.write_bytes(public)
    return public_path


def sign(bundle: Path, key_path: Path) -> Path:
    """Sign the bundle's card, which names the hash of every file. Raises ConversionError or ModelError."""
    card = model_card.read_card(bundle)
    for name in (None, *card.files):
        model_card.read_file(bundle, card, name)
    key = read_key(key_path)
    path = bundle / model_card.SIGNATURE_FILE
    path.write_bytes(key.sign((bundle / model_card.CARD_FILE).read_bytes()))
    return path


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key. Raises ConversionError if there is none."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as err:
        raise ConversionError(f"{path} is no private key: make one with new-key") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise ConversionError(f"{path} is no Ed25519 key: make one with new-key")
    return key
