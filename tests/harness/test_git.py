"""Questions to git from within a hook, whose environment is about a commit in the making."""

import subprocess

import pytest

from harness.gate import worktree
from harness.git import run_git


@pytest.fixture
def repository(tmp_path):
    """A clone with one commit, and another file in its index."""
    folder = tmp_path / "repository"
    folder.mkdir()
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")

    def git(*words):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)

    git("init", "-q")
    (folder / "kept.txt").write_text("kept")
    git("add", "kept.txt")
    git("commit", "-qm", "first")
    (folder / "new.txt").write_text("new")
    git("add", "new.txt")
    return folder


@pytest.fixture
def in_hook(repository, monkeypatch):
    """What git sets for a pre-commit hook."""
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    monkeypatch.setenv("GIT_PREFIX", "")


@pytest.mark.usefixtures("in_hook")
def test_the_base_of_a_gate_leaves_a_hooks_commit_alone(repository, tmp_path):
    index = (repository / ".git" / "index").read_bytes()
    with worktree._worktree(repository, "HEAD", tmp_path / "base"):
        assert (tmp_path / "base" / "kept.txt").read_text() == "kept"
        assert not (tmp_path / "base" / "new.txt").exists()
        assert (repository / ".git" / "index").read_bytes() == index
    assert run_git(repository, "status", "--porcelain").stdout == "A  new.txt\n"


@pytest.mark.usefixtures("in_hook")
def test_a_question_is_about_the_folder_it_names(tmp_path):
    assert run_git(tmp_path, "rev-parse", "--show-toplevel").returncode != 0
