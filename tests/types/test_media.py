"""Image, Audio, File: what they are made of, and what is refused."""

import array
import base64
import copy
import os
import wave
from io import BytesIO

import pytest

from dspex.core.errors import InputError
from dspex.program.types.media import Audio, File, Image

PNG = b"\x89PNG\r\n\x1a\n and more"
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
WAV = b"RIFF\x04\0\0\0WAVEfmt "


class Picture:
    """As much of a PIL image as is needed."""

    mode, format = "RGB", None

    def save(self, file: BytesIO, format: str) -> None:
        assert format == "PNG"
        file.write(PNG)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://host/cat.png?size=9", "https://host/cat.png?size=9"),
        ("gs://bucket/cat.png", "gs://bucket/cat.png"),
        (PNG_URL, PNG_URL),
        (PNG, PNG_URL),
        (bytearray(PNG), PNG_URL),
        (Picture(), PNG_URL),
        (Image(PNG), PNG_URL),
        (b"\xff\xd8\xff\xe0", "data:image/jpeg;base64,/9j/4A=="),
        (b"GIF89a", "data:image/gif;base64,R0lGODlh"),
        (b"RIFF....WEBP", "data:image/webp;base64,UklGRi4uLi5XRUJQ"),
    ],
)
def test_a_picture_is_made_of(source, url):
    assert Image(source).url == url
    assert Image(url=source).format() == [{"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize(
    "source",
    [
        *("cat.png", "/etc/passwd", "file:///etc/passwd", "https://", "https://a b/", "http://[", ""),
        *(b"text", None, 7, WAV, "data:text/html;base64,AA==", "data:image/png,raw", f"{PNG_URL}\n"),
    ],
)
def test_what_is_no_picture_is_refused(source):
    with pytest.raises(InputError):
        Image(source)


def test_a_picture_that_is_made_fetches_nothing():
    assert Image("https://host/cat.png", download=False) == Image("https://host/cat.png")
    with pytest.raises(InputError, match="from_url"):
        Image("https://host/cat.png", download=True)


def test_a_picture_out_of_a_file(tmp_path):
    path = tmp_path / "cat.bin"
    path.write_bytes(PNG)
    assert Image.from_path(path) == Image.from_path(str(path)) == Image(PNG)


def test_making_one_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(PNG)
    for kind in (Image, Audio, File):
        with pytest.raises(InputError, match="from_path"):
            kind("cat.png")


@pytest.mark.parametrize("kind", [Image, Audio, File])
def test_a_file_beyond_the_limit_is_refused_with_size_and_limit(tmp_path, kind):
    path = tmp_path / "large"
    path.write_bytes(PNG * 10)
    with pytest.raises(InputError, match=rf"large has {len(PNG) * 10} bytes, beyond the limit of 50"):
        kind.from_path(path, max_bytes=50)


def test_devices_pipes_and_directories_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, "/dev/zero", tmp_path / "pipe"):
        with pytest.raises(InputError, match="no regular file"):
            File.from_path(path)


@pytest.mark.parametrize("kind", [Image, Audio, File])
@pytest.mark.parametrize("known", [FileNotFoundError, InputError, ValueError])
def test_a_file_that_is_not_there_is_both_errors(tmp_path, kind, known):
    with pytest.raises(known, match="absent: no such file"):
        kind.from_path(tmp_path / "absent")


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(WAV)
    with pytest.raises(InputError, match=r"song.wav is audio/wav, not image/"):
        Image.from_path(path)
    (tmp_path / "what").write_bytes(b"?")
    with pytest.raises(InputError, match="what is of unknown kind"):
        Audio.from_path(tmp_path / "what")


@pytest.mark.parametrize(
    ("made", "format"),
    [
        (Audio(WAV), "wav"),
        (Audio(b"ID3..."), "mp3"),
        (Audio(b"....", audio_format="flac"), "flac"),
        (Audio(data="UklG", audio_format="mpeg"), "mp3"),
        (Audio("data:audio/x-wav;base64,UklG"), "wav"),
    ],
)
def test_sound_knows_its_format(made, format):
    [part] = made.format()
    assert part == {"type": "input_audio", "input_audio": {"data": made.data, "format": format}}
    assert base64.b64decode(made.data)


def test_a_format_that_the_data_url_denies_is_refused():
    with pytest.raises(InputError, match="the data URL says audio/x-wav"):
        Audio("data:audio/x-wav;base64,UklG", audio_format="mp3")
    assert Audio("data:audio/x-wav;base64,UklG", audio_format="wav").audio_format == "wav"


def test_the_older_name_of_from_path_is_warned_of(tmp_path):
    path = tmp_path / "cat.bin"
    path.write_bytes(PNG)
    with pytest.warns(DeprecationWarning, match="Image.from_path"):
        assert Image.from_file(path) == Image.from_path(path)


def test_an_address_of_a_sound_is_told_how_it_is_fetched():
    with pytest.raises(InputError, match="from_url"):
        Audio("https://host/song.wav")


@pytest.mark.parametrize("source", ["song.wav", "UklG", b"????", PNG, None])
def test_what_is_no_sound_is_refused(source):
    with pytest.raises(InputError):
        Audio(source)


@pytest.mark.parametrize(("samples", "channels"), [([0.0, 0.5, -2.0], 1), (array.array("d", [0, 1]), 1)])
def test_samples_become_a_wav(samples, channels):
    made = Audio.from_array(samples, 8000)
    with wave.open(BytesIO(base64.b64decode(made.data))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, channels, len(samples))
    with pytest.raises(InputError, match="mp3"):
        Audio.from_array(samples, 8000, format="mp3")


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (File(b"hi", filename="a.txt"), {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}),
        (File(b"%PDF-1"), {"file_data": "data:application/pdf;base64,JVBERi0x"}),
        (File(b"??"), {"file_data": "data:application/octet-stream;base64,Pz8="}),
        (File.from_bytes(b"?", mime_type="text/csv"), {"file_data": "data:text/csv;base64,Pw=="}),
        (File("data:text/plain;charset=utf-8;base64,aGk="), {"file_data": "data:text/plain;charset=utf-8;base64,aGk="}),
        (File.from_file_id("f1", "a.pdf"), {"file_id": "f1", "filename": "a.pdf"}),
    ],
)
def test_a_document_is_a_part(made, part):
    assert made.format() == [{"type": "file", "file": part}]


def test_a_document_out_of_a_file_has_its_name(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("hi")
    assert File.from_path(path).filename == "notes.md"
    assert File.from_path(path, filename="b.csv", mime_type="text/csv").file_data == "data:text/csv;base64,aGk="


def test_a_document_needs_content():
    for wrong in ({}, {"file_data": "plain"}, {"file_data": 7}):
        with pytest.raises(InputError):
            File(**wrong)


def test_a_url_is_fetched_only_if_asked():
    assert Image.from_url("https://host/cat.png").url == "https://host/cat.png"
    for kind in (Audio, File):
        with pytest.raises(InputError, match="download=True"):
            kind.from_url("https://host/x")


@pytest.mark.parametrize("made", [Image(PNG), Audio(WAV), File(b"hi")])
def test_they_are_frozen_values(made):
    name = next(iter(vars(made)))
    with pytest.raises(AttributeError, match="frozen"):
        setattr(made, name, "other")
    with pytest.raises(AttributeError, match="frozen"):
        delattr(made, name)
    twin = copy.deepcopy(made)
    assert twin == made
    assert hash(twin) == hash(made)
    assert made != Image("https://host/other.png")
    assert type(made).from_plain(made.toDict()) == made


def test_what_is_shown_of_one_is_short():
    assert len(repr(Image(PNG * 1000))) < 150
