"""Image, Audio, File: values that become parts of a message.

To make one from a URL, bytes or a data URL touches neither disk nor network; `from_path` reads a file, and
`from_url(..., download=True)` fetches.
"""

import base64
import binascii
import mimetypes
import re
import stat
import warnings
from collections.abc import Mapping
from io import BytesIO
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from dspex.app.app import current_app
from dspex.core.errors import InputError, MediaFileMissing
from dspex.program.types.base import Type
from dspex.runtime.stepping import run_stepped
from dspex.service.fetch import fetch

MAX_BYTES = 20 << 20
FETCH_S = 30.0

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[^;,\s]+)*;base64,([A-Za-z0-9+/=]*)", re.ASCII)
_SIGNS: Mapping[str, re.Pattern[bytes]] = MappingProxyType(
    {
        "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
        "image/jpeg": re.compile(rb"\xff\xd8\xff"),
        "image/gif": re.compile(rb"GIF8[79]a"),
        "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
        "image/bmp": re.compile(rb"BM....\0{4}", re.DOTALL),
        "image/tiff": re.compile(rb"II\*\0|MM\0\*"),
        "audio/wav": re.compile(rb"RIFF....WAVE", re.DOTALL),
        "audio/mp3": re.compile(rb"ID3|\xff[\xf2\xf3\xfa\xfb]"),
        "audio/flac": re.compile(rb"fLaC"),
        "audio/ogg": re.compile(rb"OggS"),
        "application/pdf": re.compile(rb"%PDF-"),
    }
)
_AUDIO_NAMES: Mapping[str, str] = MappingProxyType({"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "x-flac": "flac"})


class _Found(NamedTuple):
    """Bytes with what their source says of them."""

    data: bytes
    kind: str
    name: str


class Media(Type):
    """What the three have in common: they come out of files and from addresses, and no model writes one."""

    readable = False

    @classmethod
    def from_path(cls, file_path: str | PathLike[str], *, max_bytes: int = MAX_BYTES) -> Self:
        """The content of a file. Raises InputError for what is too large, of another kind, or no regular file."""
        return cls._of(_read(file_path, max_bytes))

    @classmethod
    def from_file(cls, file_path: str | PathLike[str]) -> Self:
        """DSPy's older name of `from_path`."""
        name = cls.__name__
        warnings.warn(f"{name}.from_file is DSPy's older name of {name}.from_path.", DeprecationWarning, stacklevel=2)
        return cls.from_path(file_path)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        download: bool = False,
        max_bytes: int = MAX_BYTES,
        timeout: float = FETCH_S,
        verify: bool = True,
    ) -> Self:
        """What stands at a URL: the provider fetches it, or with `download` we do, from public addresses only.

        Raises InputError, and so for a download with `verify` False: certificates are always looked at.
        """
        if not download:
            return cls._at(url)
        if not verify:
            raise InputError(f"{cls.__name__}.from_url(verify=False): a download always looks at the certificate.")
        return run_stepped(current_app().bridge, cls.afrom_url(url, max_bytes=max_bytes, timeout=timeout))

    @classmethod
    async def afrom_url(cls, url: str, *, max_bytes: int = MAX_BYTES, timeout: float = FETCH_S) -> Self:
        """As `from_url` with `download`."""
        reply = await fetch(url, max_bytes=max_bytes, timeout=timeout)
        return cls._of(_Found(reply.body, reply.kind, url))

    @classmethod
    def _at(cls, url: str) -> Self:
        name = cls.__name__
        raise InputError(f"{name} goes to a model as data: {name}.from_url({url!r}, download=True) fetches it now.")

    @classmethod
    def _of(cls, found: _Found) -> Self:
        raise NotImplementedError


class Image(Media):
    """A picture by http(s) or gs URL, data URL, bytes, or a PIL image. Raises InputError for anything else.

    `download` is DSPy's and may be False: nothing is fetched here.
    """

    url: str

    def __init__(self, url: Any, *, download: bool = False) -> None:
        if download:
            raise InputError("Image(download=True): Image.from_url(url, download=True) fetches what stands there.")
        vars(self).update(url=_picture(url))

    @classmethod
    def _at(cls, url: str) -> Self:
        return cls(url)

    @classmethod
    def _of(cls, found: _Found) -> Self:
        return cls(_data_url(found.data, _checked(found, "image/")))

    def format(self) -> list[dict[str, Any]]:
        """One part."""
        return [{"type": "image_url", "image_url": {"url": self.url}}]


class Audio(Media):
    """Sound: bytes, base64 or a data URL; `audio_format` (wav, mp3 ...) is seen in bytes and data URLs.

    Raises InputError.
    """

    data: str
    audio_format: str

    def __init__(self, data: str | bytes, audio_format: str | None = None) -> None:
        encoded, kind = _sound(data)
        seen = _audio_name(kind)
        name = _audio_name(audio_format or seen)
        if not name or "/" in name:
            raise InputError(f"Audio of {kind or 'unknown kind'}: give its format, as in Audio(data, 'wav').")
        if isinstance(data, str) and seen not in ("", name):
            raise InputError(f"Audio(audio_format={audio_format!r}): the data URL says {kind}.")
        vars(self).update(data=encoded, audio_format=name)

    @classmethod
    def from_array(cls, array: Any, sampling_rate: int, format: str = "wav") -> Self:
        """Samples from -1 to 1, one channel or (samples, channels), as 16-bit WAV. Raises InputError."""
        if format != "wav":
            raise InputError(f"Audio.from_array writes wav, not {format!r}.")
        return cls(_wav(array, sampling_rate), "wav")

    @classmethod
    def _of(cls, found: _Found) -> Self:
        return cls(found.data, _checked(found, "audio/").removeprefix("audio/"))

    def format(self) -> list[dict[str, Any]]:
        """One part."""
        return [{"type": "input_audio", "input_audio": {"data": self.data, "format": self.audio_format}}]


class File(Media):
    """A document: bytes or a data URL, or the provider's own id of one. Raises InputError."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None

    def __init__(
        self,
        file_data: str | bytes | None = None,
        file_id: str | None = None,
        filename: str | None = None,
        *,
        mime_type: str | None = None,
    ) -> None:
        if file_data is None and not file_id:
            raise InputError("A File needs file_data or file_id.")
        file_data = None if file_data is None else _document(file_data, mime_type, filename or "")
        vars(self).update(file_data=file_data, file_id=file_id, filename=filename)

    @classmethod
    def from_path(
        cls,
        file_path: str | PathLike[str],
        filename: str | None = None,
        mime_type: str | None = None,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> Self:
        """The content of a file, under its name unless another is given. Raises InputError as `Media.from_path`."""
        found = _read(file_path, max_bytes)
        return cls(found.data, filename=filename or found.name, mime_type=mime_type)

    @classmethod
    def from_bytes(cls, file_bytes: bytes, filename: str | None = None, mime_type: str | None = None) -> Self:
        """A document out of bytes."""
        return cls(file_bytes, filename=filename, mime_type=mime_type)

    @classmethod
    def from_file_id(cls, file_id: str, filename: str | None = None) -> Self:
        """A document that the provider has."""
        return cls(file_id=file_id, filename=filename)

    @classmethod
    def _of(cls, found: _Found) -> Self:
        name = urlsplit(found.name).path.rpartition("/")[2]
        return cls(found.data, filename=name or None, mime_type=found.kind or None)

    def format(self) -> list[dict[str, Any]]:
        """One part."""
        return [{"type": "file", "file": {name: value for name, value in vars(self).items() if value is not None}}]


def _picture(source: Any) -> str:
    if isinstance(source, Image):
        return source.url
    if isinstance(source, (bytes, bytearray, memoryview)):
        raw = bytes(source)
        kind = _seen(raw)
        if not kind.startswith("image/"):
            raise InputError(f"These {len(raw)} bytes are no picture, but {kind or 'of unknown kind'}.")
        return _data_url(raw, kind)
    if hasattr(source, "save") and hasattr(source, "mode"):  # a PIL image
        buffer = BytesIO()
        kind = getattr(source, "format", None) or "PNG"
        source.save(buffer, format=kind)
        return _data_url(buffer.getvalue(), f"image/{kind.lower()}")
    if isinstance(source, str) and (_is_address(source) or _is_picture_data(source)):
        return source
    raise InputError(
        f"An Image is a URL (http, https, gs), a data URL, bytes or a PIL image, not {source!r:.80}; "
        "Image.from_path reads a file."
    )


def _document(source: Any, kind: str | None, name: str) -> str:
    if isinstance(source, (bytes, bytearray, memoryview)):
        raw = bytes(source)
        return _data_url(raw, kind or mimetypes.guess_type(name)[0] or _seen(raw) or "application/octet-stream")
    if isinstance(source, str) and _DATA_URL.fullmatch(source):
        return source
    raise InputError(f"file_data is bytes or a base64 data URL, not {source!r:.60}; File.from_path reads a file.")


def _is_picture_data(text: str) -> bool:
    found = _DATA_URL.fullmatch(text)
    return found is not None and found[1].startswith("image/")


def _is_address(text: str) -> bool:
    if not text.startswith(("http://", "https://", "gs://")) or not text.isprintable() or " " in text:
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def _read(path: str | PathLike[str], max_bytes: int) -> _Found:
    where = Path(path)
    try:
        status = where.stat()
    except FileNotFoundError as error:
        raise MediaFileMissing(f"{where}: no such file.") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{where} is no regular file; devices, pipes and directories are not read.")
    with where.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        size = max(status.st_size, len(data))
        raise InputError(f"{where} has {size} bytes, beyond the limit of {max_bytes}; pass max_bytes= to allow it.")
    return _Found(data, "", where.name)


def _checked(found: _Found, wanted: str) -> str:
    kind = _seen(found.data) or found.kind or mimetypes.guess_type(found.name)[0] or "of unknown kind"
    if not kind.startswith(wanted):
        raise InputError(f"{found.name} is {kind}, not {wanted}*.")
    return kind


def _seen(data: bytes) -> str:
    return next((kind for kind, sign in _SIGNS.items() if sign.match(data)), "")


def _data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _sound(source: Any) -> tuple[str, str]:
    """Base64 and, where it can be seen, the kind."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return base64.b64encode(source).decode(), _seen(bytes(source))
    if isinstance(source, str) and (url := _DATA_URL.fullmatch(source)):
        return url[2], url[1]
    try:
        base64.b64decode(source, validate=True)
    except (binascii.Error, TypeError, ValueError):
        wanted = "Audio is bytes, base64 or a data URL"
        raise InputError(
            f"{wanted}, not {source!r:.60}; Audio.from_path reads a file, Audio.from_url fetches one."
        ) from None
    return source, ""


def _audio_name(kind: str) -> str:
    name = kind.removeprefix("audio/")
    return _AUDIO_NAMES.get(name, name)


def _wav(samples: Any, sampling_rate: int) -> bytes:
    import wave
    from array import array

    shape: tuple[int, ...] = getattr(samples, "shape", (len(samples),))
    channels = shape[-1] if len(shape) > 1 else 1
    flat = samples.reshape(-1).tolist() if hasattr(samples, "reshape") else samples
    data = array("h", (round(max(-1.0, min(1.0, float(sample))) * 32767) for sample in flat))
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(data.tobytes())
    return buffer.getvalue()
