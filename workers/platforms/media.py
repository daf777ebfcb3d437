"""Fetches media piece by piece, from public addresses only, whatever their names resolve to.

The address that was looked at is the one that is connected to, so that a name can't change its mind in between.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx

from penstock.schemas.errors import Code
from penstock.schemas.media_address import address_fault, is_public
from penstock.workers.platforms.answers import Answer, AnswerClass, Phase, PlatformFault
from penstock.workers.platforms.bounded import BoundedTransport, addresses_of, seconds_left, within
from penstock.workers.platforms.endpoints import Endpoints

#: How often media may have moved.
REDIRECTS = 5
#: Seconds that the look-up of a name may take.
_LONGEST_LOOK_UP = 10.0
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What is behind an address: its size in bytes and its type."""

    size_bytes: int
    content_type: str


class MediaSource:
    """Reads media. Safe to share between threads; `close` at the end of the process.

    Nothing takes longer than `Patience.whole`, however often the media moved.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._private_hosts = endpoints.private_hosts
        patience = endpoints.patience
        self._whole = patience.whole
        self._client = httpx.Client(
            transport=_PublicTransport(endpoints.private_hosts),
            timeout=httpx.Timeout(patience.read.total_seconds(), connect=patience.connect.total_seconds()),
            follow_redirects=False,
            trust_env=False,
            # Bytes as they are: a compressed answer would make ranges mean something else.
            headers={"User-Agent": "penstock", "Accept-Encoding": "identity"},
        )

    def look(self, url: str) -> MediaFile:
        """The size and type of media.

        Raises:
            PlatformFault: `RETRY` where it can't be had now, `PERMANENT` where its address or its server is no good.
        """
        response, _ = self._read(url, 0, 0)
        _, size = self._range_of(response)
        return MediaFile(size, response.headers.get("content-type", "application/octet-stream").split(";")[0].strip())

    def piece(self, url: str, first: int, last: int) -> bytes:
        """The bytes `first` to `last`, both included. Raises `PlatformFault` as `look` does."""
        response, body = self._read(url, first, last)
        begins, _ = self._range_of(response)
        if begins != first or len(body) != last - first + 1:
            raise _fault("the media's server sent other bytes than were asked for", "range")
        return body

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _read(self, url: str, first: int, last: int) -> tuple[httpx.Response, bytes]:
        """Ask for a range, follow the media where it moved, and read no more than was asked for."""
        with within(self._whole):
            for _ in range(REDIRECTS + 1):
                refused = address_fault(url, self._private_hosts)
                if refused is not None:
                    raise _fault(refused, "address", AnswerClass.PERMANENT, Code.POST_MEDIA_ADDRESS_REFUSED)
                response, body = self._get(url, first, last)
                if not response.is_redirect:
                    return response, body
                url = urljoin(url, response.headers["location"])
        raise _fault("the media moved too often", "redirects", AnswerClass.PERMANENT)

    def _get(self, url: str, first: int, last: int) -> tuple[httpx.Response, bytes]:
        wanted = last - first + 1
        try:
            with self._client.stream("GET", url, headers={"Range": f"bytes={first}-{last}"}) as response:
                body = bytearray()
                for piece in response.iter_raw() if response.status_code == 206 else ():
                    body += piece
                    if len(body) > wanted:
                        raise _fault("the media's server sent more than was asked for", "range")
                return response, bytes(body)
        except _PrivateAddressError:
            told = "the host's name leads into a private network"
            raise _fault(told, "address", AnswerClass.PERMANENT, Code.POST_MEDIA_ADDRESS_REFUSED) from None
        except (httpx.TimeoutException, TimeoutError):
            raise _fault("the media did not come in time", "timed_out") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _fault("the media could not be fetched", type(error).__name__) from None

    def _range_of(self, response: httpx.Response) -> tuple[int, int]:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if response.status_code != 206 or match is None:
            if response.status_code == 200:
                raise _fault("the media's server does not send parts of a file", "range", AnswerClass.PERMANENT)
            gone = response.status_code in {401, 403, 404, 410, 416}
            cls = AnswerClass.PERMANENT if gone else AnswerClass.RETRY
            raise _fault("the media could not be fetched", f"http:{response.status_code}", cls)
        return int(match[1]), int(match[3])


class _PrivateAddressError(OSError):
    """A name resolves to an address that is not public."""


class _PublicTransport(httpx.BaseTransport):
    """Connects to the very address that was found to be public; the certificate is the name's."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        # Kept-alive connections would be found by address, though their certificate was another name's.
        self._inner = BoundedTransport(httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if host not in self._private_hosts:
            request.extensions = {**request.extensions, "sni_hostname": host}
            request.url = request.url.copy_with(host=resolve_public(host))
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def resolve_public(host: str) -> str:
    """One address of a host, all of whose addresses are public.

    Raises:
        OSError: where the name does not resolve, or resolves to any address that is not public.
    """
    found = addresses_of(host, 443, seconds_left(_LONGEST_LOOK_UP))
    addresses = [ipaddress.ip_address(one.split("%")[0]) for one in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise _PrivateAddressError
    return str(addresses[0])


def _fault(
    detail: str,
    platform_code: str,
    cls: AnswerClass = AnswerClass.RETRY,
    code: Code = Code.PLATFORM_MEDIA_UNREACHABLE,
) -> PlatformFault:
    request = {"method": "GET", "path": "{media}", "parameters": []}
    return PlatformFault(Answer(cls, Phase.PREPARE, code, detail, platform_code, request=request, asked=False))
