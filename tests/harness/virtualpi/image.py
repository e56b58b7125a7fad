"""What a machine is booted from: Debian's kernel, a first file system, a disk with Debian and limiar, and device trees."""

import lzma
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import wheelhouse
from virtualpi import PROJECT, camera_stack, debian, device, qemu
from virtualpi.cache import CACHE
from virtualpi.namespace import Root, scratch_root

BUNDLE = PROJECT / "models" / "lung-nodule"
_GUEST = PROJECT / "tests" / "harness" / "virtualpi" / "guest"
_SUITE = camera_stack.SUITE
_PYTHON = device.PYTHONS[_SUITE]
_SYSTEM = ("base-files", "base-passwd", "busybox-static", "coreutils", "dash", "kmod", "libc-bin", "linux-image-arm64", "mount")
_MODULES = ("virtio_blk", "bcm2835", "sdhci-iproc", "ext4")  # a disk of -M virt, an SD card of a Pi 3 and of a Pi 4
DISK = "2G"  # mostly empty: an SD card's size is a power of two
# The boards' device trees in Debian's kernel, and the changes that QEMU's machines need, as fdtput's arguments.
_TREES = {"raspi3b": "bcm2837-rpi-3-b.dtb", "raspi4b": "bcm2711-rpi-4-b.dtb"}
_DISABLED = (  # QEMU's Pi 4 does not have them, and the kernel would panic or wait
    *("clock@7ef00000", "interrupt-controller@7ef00100", "hdmi@7ef00700", "hdmi@7ef05700", "i2c@7ef04500", "i2c@7ef09500"),
    *("hvs@7e400000", "vec@7ec13000", "txp@7e004000", "pixelvalve@7e206000", "pixelvalve@7e207000", "pixelvalve@7e20a000"),
    *("pixelvalve@7e216000", "pixelvalve@7ec12000"),
)
_CHANGES = {
    "raspi3b": (),
    "raspi4b": (
        *(("-ts", f"/soc/{node}", "status", "disabled") for node in _DISABLED),
        # QEMU has the SD card where a Pi 4 has its Wi-Fi, which would first wait for a reset that never comes.
        ("-ts", "/emmc2bus/mmc@7e340000", "status", "disabled"),
        ("-d", "/soc/mmc@7e300000", "mmc-pwrseq"),
    ),
}


@dataclass(frozen=True)
class Image:
    """Files for QEMU, which only reads them."""

    kernel: Path
    initrd: Path
    disk: Path  # ext4
    trees: dict[str, Path]  # QEMU's board -> device tree


def make_image(folder: Path, packages: Sequence[str] = (), prepare: Callable[[Path], None] = lambda guest: None) -> Image:
    """Makes an image in which limiar's wheel is installed as on a device. Raises Unavailable, Failed, WheelhouseError.

    packages: more of Debian's; prepare: changes the folder of its disk, in which files are replaced and never written to.
    """
    wanted = (*_SYSTEM, "python3", *camera_stack.PACKAGES, *packages)
    system = debian.root(_SUITE, "arm64", wanted, camera_stack.BACKPORTS)
    python = debian.root(_SUITE, "amd64", ("base-files", "coreutils", "dash", "libc-bin", "python3"))
    (kernel,) = (system / "boot").glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".guest-") as name:
        guest = Path(name, "guest")
        subprocess.run(["cp", "-al", system, guest], check=True)  # hard links: new files do not change `system`
        _install(guest, folder)
        (guest / "data").mkdir()  # where a second disk is mounted
        prepare(guest)
        with scratch_root(python, binds={"/guest": guest}) as root:
            _compile(root)
        with scratch_root(qemu.system_root(), binds={"/guest": guest, "/out": folder}) as root:
            root.run("depmod", "-b", "/guest", release)
            _make_initrd(root, guest, folder, release)
            root.run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", "/guest", "/out/disk", DISK)
            debian_s = system / "usr" / "lib" / f"linux-image-{release}" / "broadcom"
            trees = {board: _make_tree(root, board, debian_s, folder) for board in _TREES}
    return Image(kernel, folder / "initrd", folder / "disk", trees)


def _install(guest: Path, folder: Path) -> None:
    """Installs limiar and a bundle, as on a device, and the virtual camera's parts."""
    limiar = wheelhouse.build_wheel(folder / "wheel")
    house = device.wheels(_PYTHON, wheelhouse.DEVICE, ("onnx",))
    wheelhouse.install(guest / "opt" / "limiar", house, [str(limiar)], _PYTHON)
    shutil.copytree(BUNDLE, guest / "opt" / "lung-nodule")
    wheelhouse.install_locked(folder / "site", [camera_stack.LOCK.read_text()], _PYTHON)
    camera_stack.make_frames(folder / "frames")
    for there, here in camera_stack.binds(folder / "site", folder / "frames").items():
        place = guest / there.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if here.is_dir():
            shutil.copytree(here, place)
        else:
            shutil.copy(here, place)


def _compile(root: Root) -> None:
    """Compiles bytecode in advance: the disk is read-only, and under emulation compiling would take longest of all."""
    folders = ("opt", f"usr/lib/python{_PYTHON}", "usr/lib/python3")
    command = ("python3", "-m", "compileall", "-q", "-j0", "--invalidation-mode", "unchecked-hash", "-s", "/guest", "-p", "/")
    root.run(*command, *(f"/guest/{folder}" for folder in folders))


def _make_initrd(root: Root, guest: Path, folder: Path, release: str) -> None:
    """Makes the initrd: busybox, the disks' modules in loading order, and guest/."""
    files = folder / "initrd.files"
    (files / "bin").mkdir(parents=True)
    (files / "modules").mkdir()
    shutil.copy(guest / "usr" / "bin" / "busybox", files / "bin")
    shutil.copytree(_GUEST, files / "guest")
    shutil.move(files / "guest" / "init", files / "init")
    order = []
    for path in _module_paths(root, release):
        module = guest / path
        order.append(module.name.removesuffix(".xz"))
        (files / "modules" / order[-1]).write_bytes(lzma.decompress(module.read_bytes()))
    (files / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
    root.run("sh", "-c", "cd /out/initrd.files && find . | cpio --quiet -o -H newc -F /out/initrd")


def _module_paths(root: Root, release: str) -> Sequence[str]:
    """The paths of the modules, each once and after those that it needs."""
    said = "".join(root.run("modprobe", "-d", "/guest", "-S", release, "--show-depends", name).stdout for name in _MODULES)
    return list(dict.fromkeys(line.split()[1].removeprefix("/guest/") for line in said.splitlines()))


def _make_tree(root: Root, board: str, debian_s: Path, folder: Path) -> Path:
    tree = folder / f"{board}.dtb"
    shutil.copyfile(debian_s / _TREES[board], tree)
    for option, *words in _CHANGES[board]:
        root.run("fdtput", option, f"/out/{tree.name}", *words)
    return tree
