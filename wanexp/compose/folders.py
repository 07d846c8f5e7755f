"""Where configuration files lie: shipped with wanexp, and in the user's working folder."""

from __future__ import annotations

from pathlib import Path


def shipped_folder() -> Path:
    """The folder that holds ``conf/`` and ``sweeps/``: in a wheel the package, else the checkout.

    Raises:
        FileNotFoundError: If neither has them (a broken installation).
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        if (folder / "conf" / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"wanexp's conf/ is neither in {package} nor beside it; reinstall wanexp"
    )


def user_folder() -> Path | None:
    """The working folder where it has its own ``conf/`` or ``sweeps/``, else None."""
    here = Path.cwd()
    own = any((here / name).is_dir() for name in ("conf", "sweeps"))
    return here if own and here != shipped_folder() else None


def available(group: str) -> list[str]:
    """Names in a group (``sweeps``, ``conf/case``), the user's own and the shipped ones.

    Subfolders count as ``folder/name``.
    """
    names = set()
    for root in (shipped_folder(), user_folder()):
        folder = None if root is None else root / group
        if folder is not None and folder.is_dir():
            names |= {
                p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")
            }
    return sorted(names)


def find(group: str, name: str) -> Path | None:
    """The file of ``group/name`` that composing would use; the user's own wins."""
    for root in (user_folder(), shipped_folder()):
        path = None if root is None else root / group / f"{name}.yaml"
        if path is not None and path.is_file():
            return path
    return None
