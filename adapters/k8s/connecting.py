"""Why a connection to a cluster failed, with what to do about it."""

import errno
import ssl

import aiohttp


def explained(error: Exception) -> str:
    """The words of the error, and a remedy where one is known."""
    told = str(error) or type(error).__name__
    remedy = _remedy(error, told)
    return f"{told}; {remedy}" if remedy else told


def _remedy(error: Exception, told: str) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "correct the server's name in the kubeconfig, or what this host asks for names"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return _of_certificate(told)
    if "WRONG_VERSION_NUMBER" in told:
        return "it speaks no TLS there: correct the server's port in the kubeconfig"
    if isinstance(error, aiohttp.ClientConnectorError):
        if error.os_error.errno == errno.ECONNREFUSED or "Connect call failed" in told:
            return "start it, or correct its address in the kubeconfig"
        return "is its address in the kubeconfig right, and the way to it open?"
    return ""


def _of_certificate(told: str) -> str:
    if "expired" in told:
        return "have the cluster's certificate renewed"
    if "mismatch" in told or "doesn't match" in told or "not valid for" in told:
        return "ask it by a name that its certificate has, or name that as tls-server-name"
    return "name who signed its certificate as certificate-authority in the kubeconfig"
