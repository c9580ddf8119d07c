"""A certificate and its key as text, and whether they are what they should be."""

from cryptography import x509
from cryptography.hazmat.primitives import serialization


def fault(chain: bytes, key: bytes) -> str:
    """Why these are no certificate and its key; empty if they are.

    The certificate stands before those that vouch for it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(chain)
        private = serialization.load_pem_private_key(key, None)
        fits = private.public_key() == certificate.public_key()
    except (ValueError, TypeError):
        return (
            "it holds no PEM of a certificate and its key without password; put both into it, "
            "the certificate of the host before those that vouch for it"
        )
    return "" if fits else "its key belongs to another certificate; replace one of them"
