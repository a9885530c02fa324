"""What is used of the package cryptography, or a clear error when it is not installed."""

from crdtsync.errors import ExtraMissing

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as missing:
    text = "Making and inspecting certificates needs the package cryptography."
    raise ExtraMissing(text, hint="pip install 'crdtsync[tls]'") from missing

__all__ = [
    "CertificateIssuerPrivateKeyTypes",
    "ExtendedKeyUsageOID",
    "InvalidSignature",
    "NameOID",
    "UnsupportedAlgorithm",
    "ec",
    "hashes",
    "serialization",
    "x509",
]
