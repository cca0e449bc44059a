"""`adaptbench data`: what is there and what isn't, and fetching from a local server that breaks off, and from local files."""

import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import ClassVar

import pytest
from PIL import Image
from typer.testing import CliRunner

from harness.errors import ConfigError, DataError
from harness.suite import Folders
from suites.datasets import catalogue, fetching, prepare
from suites.datasets.checksums import names_digest
from suites.datasets.downloads import CLASSNAMES, SOURCES, Download


@pytest.fixture
def small(monkeypatch):
    """Has the small copies of `data_root` count as complete: two, one and one image of each of three classes."""
    for name in SOURCES:
        trained = name not in ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], images=(6, 3, 3) if trained else (0, 0, 12)))
    monkeypatch.setitem(SOURCES, "imagenet", replace(SOURCES["imagenet"], images=(9, 3, 3)))
    monkeypatch.setitem(SOURCES, "imagenetv2", replace(SOURCES["imagenetv2"], images=(0, 0, 11)))


def command(*words):
    return CliRunner().invoke(prepare.app, [*map(str, words)])


def test_the_sources_are_those_of_the_catalogue():
    assert list(SOURCES) == [d.name for d in vars(catalogue).values() if isinstance(d, catalogue.Dataset)]
    for name, source in SOURCES.items():
        assert source.downloads or source.by_hand, name
        assert all(d.gives.partition("/")[0] == source.folder for d in source.downloads)


class TestCheckOfOnesOwn:
    @pytest.fixture
    def animals(self, tmp_path):
        """Three classes of 32 different images."""
        for shade, name in enumerate(("cat", "red_panda", "zebra")):
            for number in range(32):
                path = tmp_path / "animals" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4), (shade, number, 0)).save(path)
        return tmp_path / "animals"

    def test_nothing_is_wrong(self, animals):
        result = command("check", f"folder:{animals}")
        assert result.exit_code == 0, result.output
        assert "complete    96 images of 3 classes; 48 to train, 18 to validate and 30 to test on." in result.output
        assert '"a photo of a cat.", "a photo of a red panda.", "a photo of a zebra."' in result.output
        assert "1 of 1 complete.\n" in result.output
        for number in range(8, 32):
            (animals / "cat" / f"{number}.png").unlink()
        result = command("check", f"folder:{animals}")
        assert result.exit_code == 0, result.output
        assert "1 of 3 classes have fewer than 16 training images (the smallest has 4)" in result.output

    def test_what_is_wrong_is_named(self, animals):
        for number in range(6):
            (animals / "cat" / f"{number}.png").write_bytes(b"<html>")
        for name in ("n01234", "n012345", "n0123456", "n01234567"):
            shutil.copytree(animals / "zebra", animals / name)
        for number in range(4, 32):
            (animals / "n01234" / f"{number}.png").unlink()
        result = command("check", f"folder:{animals}")
        assert result.exit_code == 1
        for words in (
            "is none of JPEG, PNG",
            "1 more images can't be read",
            "1 of 7 classes have fewer than 16 training images (the smallest has 2)",
            "are codes, of which a text tower knows nothing",
            "test images are training images too, by content: '",
            "32 images stand in several classes",
            "files hold 33 images",
        ):
            assert words in result.output, words

    def test_a_folder_that_is_none_says_why(self, animals):
        (animals / "empty").mkdir()
        result = command("check", f"folder:{animals}")
        assert result.exit_code == 1
        assert "the class folder 'empty/' holds no image that can be read (it is empty)" in result.output


class TestCheck:
    def test_whole_copies_are_complete(self, data_root, small):
        result = command("check", "--data-root", data_root)
        assert result.exit_code == 0, result.output
        assert f"15 of 15 complete below {data_root}" in result.output
        assert "eurosat          complete    6 / 3 / 3 images." in result.output

    def test_too_few_images_are_not_complete(self, data_root):
        result = command("check", "eurosat", "--data-root", data_root)
        assert result.exit_code == 1
        assert "it has 6 / 3 / 3 images, and 13,500 / 5,400 / 8,100 are published" in result.output
        assert "2750 away and run `adaptbench data prepare eurosat`" in result.output

    def test_without_anything_every_dataset_has_its_next_steps(self, tmp_path):
        result = command("check", "--data-root", tmp_path / "nowhere")
        assert result.exit_code == 1
        assert "0 of 15 complete" in result.output
        for name, source in SOURCES.items():
            finding = prepare.check(name, tmp_path / "nowhere")
            assert finding.state == "missing"
            steps = "\n".join(finding.steps)
            assert all(download.url in steps and download.gives in steps for download in source.downloads)
            assert all(step in steps for step in source.by_hand)
            assert source.folder in steps

    def test_another_split_of_the_same_counts_is_not_the_published_file(self, data_root, small):
        file = data_root / "eurosat" / "split_zhou_EuroSAT.json"
        lists = json.loads(file.read_text())
        lists["train"][0], lists["test"][0] = lists["test"][0], lists["train"][0]
        file.write_text(json.dumps(lists, indent=4))
        finding = prepare.check("eurosat", data_root)
        assert (finding.state, finding.words) == (
            "incomplete", "not the published file: eurosat/split_zhou_EuroSAT.json."
        )  # fmt: skip
        assert finding.steps == (f"delete {file} and run `adaptbench data prepare eurosat`",)
        with pytest.warns(UserWarning, match=r"^eurosat/split_zhou_EuroSAT.json is not the published file"):
            catalogue.EUROSAT.read(Folders(data_root, data_root))

    def test_other_class_names_are_not_the_published_file(self, data_root, small):
        file = data_root / "imagenet" / "classnames.txt"
        file.write_text(file.read_text().replace("\n", " \r\n"))
        assert prepare.check("imagenet", data_root).state == "complete"
        file.write_text(file.read_text().replace("great white shark", "white shark"))
        finding = prepare.check("imagenet", data_root)
        assert (finding.state, finding.words) == ("incomplete", "not the published file: imagenet/classnames.txt.")
        with pytest.warns(UserWarning, match=r"^imagenet/classnames.txt is not the published file"):
            catalogue.IMAGENET.read(Folders(data_root, data_root))

    @pytest.mark.parametrize(
        ("name", "part"),
        [("eurosat", "eurosat/2750/Forest"), ("imagenet_r", "imagenet-rendition/imagenet-r/n01440764")],
    )
    def test_a_half_unpacked_folder_is_fetched_anew(self, data_root, small, name, part):
        for image in (data_root / part).iterdir():
            image.unlink()
        finding = prepare.check(name, data_root)
        assert finding.state == "incomplete"
        (download,) = (d for d in SOURCES[name].downloads if d.member)
        folder = data_root / download.gives
        assert any(f"move {folder} away" in step and download.url in step for step in finding.steps), finding

    def test_one_missing_image_is_found_and_named(self, data_root, small):
        (data_root / "dtd" / "images" / "banded" / "banded_0002.jpg").unlink()
        finding = prepare.check("dtd", data_root)
        assert finding.state == "incomplete"
        assert finding.words.endswith("of 12 listed, 1 are not there, such as 'banded/banded_0002.jpg'.")

    @pytest.mark.parametrize(
        ("name", "gone", "step"),
        [
            ("caltech101", "caltech-101/split_zhou_Caltech101.json", "split_zhou_Caltech101.json: from https://raw"),
            ("ucf101", "ucf101/UCF-101-midframes", "UCF-101-midframes.zip is on Google Drive"),
            ("stanford_cars", "stanford_cars/cars_train", "links are dead since 2023"),
            ("imagenet", "imagenet/images/val", "valprep"),
            ("imagenet_r", "imagenet-rendition/classnames.txt", "classnames.txt: `adaptbench data prepare` writes it"),
        ],
    )
    def test_an_incomplete_copy_has_the_step_for_what_is_gone(self, data_root, small, name, gone, step):
        (data_root / gone).rename(data_root / "away")
        finding = prepare.check(name, data_root)
        assert finding.state == "incomplete"
        assert any(step in each for each in finding.steps), finding
        assert not any("away" in each for each in finding.steps), finding

    def test_an_unknown_name_is_advised(self):
        result = command("check", "eurosta")
        assert isinstance(result.exception, ConfigError)
        assert "Did you mean 'eurosat'" in result.exception.advice


class Server(BaseHTTPRequestHandler):
    """Serves `files`; a name in `breaks` is cut in the middle the first time. Knows ranges."""

    files: ClassVar[dict[str, bytes]] = {}
    breaks: ClassVar[set[str]] = set()
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        name = self.path.lstrip("/")
        self.asked.append(self.headers.get("Range"))
        if name not in self.files:
            return self.send_error(404)
        body, range_ = self.files[name], self.headers.get("Range")
        start = int(range_.removeprefix("bytes=").rstrip("-")) if range_ else 0
        if start >= len(body):
            return self.send_error(416)
        self.send_response(206 if range_ else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = (start + len(body)) // 2 if name in self.breaks else len(body)
        self.breaks.discard(name)
        self.wfile.write(body[start:end])
        self.wfile.flush()

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    Server.files, Server.breaks, Server.asked = {}, set(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        Server.url = f"http://127.0.0.1:{http.server_port}"
        yield Server
        http.shutdown()


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class TestFetch:
    BODY = bytes(range(256)) * 5000

    def test_a_file_that_breaks_off_goes_on_where_it_stopped(self, server, tmp_path):
        server.files["a.bin"], server.breaks = self.BODY, {"a.bin"}
        file = tmp_path / "deep" / "a.bin"
        with pytest.raises(
            DataError, match=r"(?s)broke off after 640,000 of 1,280,000 bytes.*Repeat the command to go on"
        ):
            fetching.fetch(f"{server.url}/a.bin", file, sha256(self.BODY))
        assert not file.exists()
        fetching.fetch(f"{server.url}/a.bin", file, sha256(self.BODY))
        assert file.read_bytes() == self.BODY
        assert server.asked == [None, "bytes=640000-"]
        assert [p.name for p in file.parent.iterdir()] == ["a.bin"]

    def test_a_part_that_is_whole_already_is_taken(self, server, tmp_path):
        server.files["a.bin"] = self.BODY
        (tmp_path / "a.bin.part").write_bytes(self.BODY)
        fetching.fetch(f"{server.url}/a.bin", tmp_path / "a.bin", sha256(self.BODY))
        assert (tmp_path / "a.bin").read_bytes() == self.BODY

    def test_a_link_in_the_place_of_a_part_is_not_followed(self, server, tmp_path):
        server.files["a.bin"] = self.BODY
        elsewhere, file = tmp_path / "elsewhere", tmp_path / "a.bin"
        elsewhere.write_bytes(b"mine")
        file.with_name("a.bin.part").symlink_to(elsewhere)
        fetching.fetch(f"{server.url}/a.bin", file, sha256(self.BODY))
        assert elsewhere.read_bytes() == b"mine"
        assert file.read_bytes() == self.BODY
        assert not file.is_symlink()

    def test_a_wrong_file_is_deleted(self, server, tmp_path):
        server.files["a.bin"] = self.BODY
        with pytest.raises(DataError, match=r"(?s)not sha256:0000; it was deleted.*in a browser"):
            fetching.fetch(f"{server.url}/a.bin", tmp_path / "a.bin", "sha256:0000")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.bin", "{server}/b.bin"])
    def test_a_server_that_does_not_answer_says_what_to_do_by_hand(self, server, tmp_path, url):
        with pytest.raises(DataError, match=r"(?s)can't be fetched.*put it at .*a.bin"):
            fetching.fetch(url.format(server=server.url), tmp_path / "a.bin", sha256(b""))

    def test_a_file_put_there_by_hand_needs_no_network(self, tmp_path):
        (tmp_path / "a.bin").write_bytes(self.BODY)
        fetching.fetch("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", sha256(self.BODY))

    def test_a_wrong_file_put_there_by_hand_stays(self, tmp_path):
        (tmp_path / "a.bin").write_bytes(b"the user's own")
        with pytest.raises(DataError, match=r"(?s)a.bin is not what http.* should give.*Delete it or move it away"):
            fetching.fetch("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", sha256(self.BODY))
        assert (tmp_path / "a.bin").read_bytes() == b"the user's own"

    def test_local_files_and_gits_names_of_blobs(self, tmp_path):
        source = tmp_path / "source.txt"
        source.write_bytes(b"hello\n")
        name = "git:ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of that file
        fetching.fetch(source.as_uri(), tmp_path / "copy.txt", name)
        assert (tmp_path / "copy.txt").read_bytes() == b"hello\n"


def picture():
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (1, 2, 3)).save(data, "JPEG")
    return data.getvalue()


def tar(files, mode="w:gz"):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return data.getvalue()


def zipped(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return data.getvalue()


class TestPrepare:
    @pytest.fixture
    def eurosat(self, server, monkeypatch):
        """EuroSAT as its server has it: an archive of 12 images, and the split file."""
        names = {"AnnualCrop": "Annual Crop Land", "Forest": "Forest", "SeaLake": "Sea or Lake"}
        lists = {"train": [], "val": [], "test": []}
        for label, (folder, name) in enumerate(names.items()):
            for number, part in enumerate(("train", "train", "val", "test")):
                lists[part].append([f"{folder}/{folder}_{number}.jpg", label, name])
        files = {f"2750/{path}": picture() for rows in lists.values() for path, _, _ in rows}
        server.files = {
            "EuroSAT.zip": zipped({"readme": b"", **files}),
            "split_zhou_EuroSAT.json": json.dumps(lists).encode(),
        }
        fetched = tuple(
            Download(f"{server.url}/{name}", sha256(server.files[name]), gives, member=member)
            for name, gives, member in (
                ("EuroSAT.zip", "eurosat/2750", "2750"),
                ("split_zhou_EuroSAT.json", "eurosat/split_zhou_EuroSAT.json", ""),
            )
        )
        monkeypatch.setitem(SOURCES, "eurosat", replace(SOURCES["eurosat"], images=(6, 3, 3), downloads=fetched))
        return server

    def test_one_command_leaves_a_complete_dataset(self, eurosat, tmp_path):
        result = command("prepare", "eurosat", "--data-root", tmp_path)
        assert result.exit_code == 0, result.output
        assert "eurosat          complete    6 / 3 / 3 images." in result.output
        assert sorted(p.name for p in (tmp_path / "eurosat").iterdir()) == ["2750", "split_zhou_EuroSAT.json"]
        asked = len(eurosat.asked)
        assert command("prepare", "eurosat", "--data-root", tmp_path).exit_code == 0
        assert len(eurosat.asked) == asked

    def test_the_same_command_goes_on_after_a_break(self, eurosat, tmp_path):
        eurosat.breaks = {"EuroSAT.zip"}
        result = command("prepare", "eurosat", "--data-root", tmp_path)
        assert result.exit_code == 1
        assert "broke off" in result.output
        assert not (tmp_path / "eurosat" / "2750").exists()
        assert command("prepare", "eurosat", "--data-root", tmp_path).exit_code == 0
        assert any(asked for asked in eurosat.asked)

    def test_a_broken_archive_leaves_no_half_folder(self, eurosat, tmp_path, monkeypatch):
        body = eurosat.files["EuroSAT.zip"][:-40]
        eurosat.files["EuroSAT.zip"] = body
        first, second = SOURCES["eurosat"].downloads
        monkeypatch.setitem(
            SOURCES, "eurosat", replace(SOURCES["eurosat"], downloads=(replace(first, checksum=sha256(body)), second))
        )
        result = command("prepare", "eurosat", "--data-root", tmp_path)
        assert result.exit_code == 1
        assert "can't be unpacked" in result.output
        assert not (tmp_path / "eurosat" / "2750").exists()
        assert [p.name for p in (tmp_path / ".downloads").iterdir()] == ["EuroSAT.zip", "split_zhou_EuroSAT.json"]

    def test_a_folder_inside_an_archive_inside_an_archive(self, server, tmp_path):
        inner = tar({"101_ObjectCategories/Faces/image_0001.jpg": picture()})
        server.files["caltech-101.zip"] = zipped({"caltech-101/101_ObjectCategories.tar.gz": inner, "__MACOSX/x": b""})
        published = SOURCES["caltech101"].downloads[0]
        download = replace(
            published, url=f"{server.url}/caltech-101.zip", checksum=sha256(server.files["caltech-101.zip"])
        )
        assert fetching.provide(download, tmp_path)
        assert (tmp_path / "caltech-101" / "101_ObjectCategories" / "Faces" / "image_0001.jpg").is_file()
        assert not fetching.provide(download, tmp_path)

    def test_parts_of_an_archive_join_what_is_there(self, server, tmp_path):
        published = SOURCES["fgvc_aircraft"].downloads[0]
        names = ("images/0817494.jpg", *published.parts[1:], "families.txt")
        server.files["a.tar.gz"] = tar({f"{published.member}/{name}": b"published" for name in names})
        download = replace(published, url=f"{server.url}/a.tar.gz", checksum=sha256(server.files["a.tar.gz"]))
        home = tmp_path / "fgvc_aircraft"
        home.mkdir()
        (home / "variants.txt").write_bytes(b"the user's own")
        assert fetching.provide(download, tmp_path)
        assert sorted(path.name for path in home.iterdir()) == sorted(published.parts)
        assert (home / "images" / "0817494.jpg").is_file()
        assert (home / "variants.txt").read_bytes() == b"the user's own"
        assert not fetching.provide(download, tmp_path)

    def test_an_archive_cannot_write_outside(self, server, tmp_path):
        server.files["a.tar.gz"] = tar({"../../escaped.txt": b"x"})
        download = Download(f"{server.url}/a.tar.gz", sha256(server.files["a.tar.gz"]), "dtd/images", member="images")
        with pytest.raises(DataError, match="can't be unpacked"):
            fetching.provide(download, tmp_path / "root")
        assert not list(tmp_path.rglob("escaped.txt"))

    def test_imagenets_names_are_written_for_sorted_wnids_and_copied(self, tmp_path):
        wnids = [f"n{number:08}" for number in range(1000)]
        for wnid in wnids:
            (tmp_path / "imagenet" / "images" / "train" / wnid).mkdir(parents=True)
        (tmp_path / "imagenet-rendition").mkdir()
        prepare.write_classnames("imagenet", tmp_path)
        lines = (tmp_path / "imagenet" / "classnames.txt").read_text().splitlines()
        assert (len(lines), lines[0], lines[657], lines[744]) == (
            1000, "n00000000 tench", "n00000657 missile", "n00000744 missile"
        )  # fmt: skip
        prepare.write_classnames("imagenet_r", tmp_path)
        assert (tmp_path / "imagenet-rendition" / "classnames.txt").read_text().splitlines() == lines


def test_the_checksum_of_class_names_is_that_of_the_published_ones(tmp_path):
    import open_clip

    wnids = (resources.files("timm") / "data" / "_info" / "imagenet_synsets.txt").read_text().split()
    lines = [f"{wnid} {name}\n" for wnid, name in zip(wnids, open_clip.IMAGENET_CLASSNAMES, strict=True)]
    (tmp_path / "classnames.txt").write_text("".join(lines))
    assert names_digest(tmp_path / "classnames.txt") == CLASSNAMES


def test_addresses_are_secure_or_checked():
    for source in SOURCES.values():
        for download in source.downloads:
            assert download.url.startswith("https://") or download.checksum
            assert download.checksum.partition(":")[0] in ("md5", "sha256", "git")
