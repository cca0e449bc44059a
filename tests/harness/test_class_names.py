"""Names in words for classes that are codes: files as people have them, and what is refused."""

import pytest

from harness.data.class_names import read_class_names
from harness.data.few_shot import classnames
from harness.errors import ConfigError, DataError
from harness.suite import Dataset, Folders, Item, Splits

FOLDERS = Folders(None, None)


def dataset(*codes):
    items = tuple(Item(f"{code}/1.png", label, code) for label, code in enumerate(codes))
    splits = Splits(train=items, val=(), test=items, open=None)
    return Dataset(
        name="folder:birds@0", title="birds", group="user", templates={"clip": "{}."}, read=lambda folders: splits
    )


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("classnames.txt", b"n01440764 tench\nn01443537 gold fish\n"),
        ("bom.txt", "\ufeffn01440764 tench\r\n\r\nn01443537\tgold fish\r\n".encode()),
        ("utf16.txt", "n01440764 tench\nn01443537 gold fish\n".encode("utf-16")),
        ("more.txt", b"n01440764 tench\nn01443537 gold fish\nn01484850 great white shark\n"),
        ("names.csv", b"Label; Name\nn01440764;tench\nn01443537; gold fish\n"),
        ("names.json", b'{"n01440764": "tench", "n01443537": "gold fish"}'),
        ("index.json", b'{"0": ["n01440764", "tench"], "1": ["n01443537", "gold fish"]}'),
    ],
)
def test_the_usual_files_are_read(tmp_path, file, data):
    (tmp_path / file).write_bytes(data)
    named = read_class_names(str(tmp_path / file)).of(dataset("n01440764", "n01443537"))
    assert classnames(named.read(FOLDERS)) == ("tench", "gold fish")


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("a.txt", b"n1 tench\nn2\n", "line 2: the code 'n2', the name ''"),
        ("a.txt", b"n1 tench\nn1 shark\n", "line 2: the code 'n1' is 'shark' here, and was 'tench'"),
        ("a.txt", b"\n", "no names in it"),
        ("a.txt", b"n1 caf\xe9", "not UTF-8"),
        ("a.txt", None, "No such file"),
        ("a.csv", b"code,words\nn1,tench\n", "columns 'code', 'words'"),
        ("a.csv", b"label,name\nn1\n", "line 2: the code 'n1', the name ''"),
        ("a.json", b"[1]", "no object"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b'{"n1": {"name": "tench"}}', "'n1' has"),
        ("a.json", b'{"n1": "tench", "n1": "shark"}', "was 'tench' before"),
        ("a.json", b'{"n1": ["tench"]}', "the code '', the name ''"),
    ],
)
def test_what_is_no_list_of_names_is_told(tmp_path, file, data, said):
    if data is not None:
        (tmp_path / file).write_bytes(data)
    with pytest.raises(ConfigError) as error:
        read_class_names(str(tmp_path / file))
    assert said in error.value.what


def test_a_class_without_a_name_is_refused_by_name(tmp_path):
    (tmp_path / "names.txt").write_text("n1 tench\n")
    with pytest.raises(DataError, match=r"no name for 1 of the 2 classes of 'folder:birds@0', such as 'n2'"):
        read_class_names(str(tmp_path / "names.txt")).of(dataset("n1", "n2")).read(FOLDERS)


def test_the_names_are_part_of_what_the_dataset_is(tmp_path):
    names = []
    for text in ("n1 tench\nn2 shark\n", "n2 shark\nn1 tench\n", "n1 tench\nn2 white shark\n"):
        (tmp_path / "names.txt").write_text(text)
        names.append(read_class_names(str(tmp_path / "names.txt")).of(dataset("n1", "n2")).name)
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("folder:birds@0:names=")
