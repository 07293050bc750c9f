"""`rumpci doctor` about the IOMMU: on or off, why, interrupt remapping, groups, doing without.

Source: Linux, Documentation/arch/x86/iommu.rst, Documentation/admin-guide/kernel-parameters.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rumpci.binding import group
from rumpci.binding.use import entries, text_of
from rumpci.machines import sysfs
from rumpci.machines.sysfs import SysFunction
from rumpci.tools.finding import Finding

_TABLES = "sys/firmware/acpi/tables"
_GRUB = "GRUB_CMDLINE_LINUX of /etc/default/grub, then `update-grub` and reboot"
_OFF = re.compile(r"(?:^|\s)((?:intel_iommu|amd_iommu|iommu)=\S*off\b\S*)")
_UNSAFE = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


def iommu(root: Path) -> Iterator[Finding]:
    """Whether there is one that the kernel uses; if not, which switch is missing."""
    groups = root / "sys/kernel/iommu_groups"
    count = len(list(groups.iterdir())) if groups.is_dir() else 0
    if count:
        units = ", ".join(entry.name for entry in entries(root, "iommu")) or "a unit"
        yield Finding("IOMMU", True, f"on: {units}, {count} groups")
        yield from _remapping(root)
        return
    found, remedy = _why_off(root)
    yield Finding("IOMMU", False, found, remedy)


def _why_off(root: Path) -> tuple[str, str]:
    if not (root / "sys/bus/pci").is_dir():
        return "no PCI below /sys", "run it on the machine itself: this may be a container"
    command = text_of(root / "proc/cmdline")
    if switched := _OFF.search(command):
        return f"the kernel was booted with {switched[1]}", f"take that out of {_GRUB}"
    if (root / _TABLES / "DMAR").exists():
        if "intel_iommu=on" in command:
            return "the kernel found VT-d and could not use it", "see `dmesg | grep -i DMAR`"
        return "the firmware has VT-d on, the kernel does not use it", f"intel_iommu=on in {_GRUB}"
    if (root / _TABLES / "IVRS").exists():
        return "the firmware has AMD-Vi on, the kernel does not use it", "see `dmesg | grep AMD-Vi`"
    return "the firmware tells of none", _firmware(text_of(root / "proc/cpuinfo"))


def _firmware(cpuinfo: str) -> str:
    if "AuthenticAMD" in cpuinfo:
        return (
            "switch IOMMU (AMD-Vi) on in the firmware's set-up; the kernel then uses it by itself"
        )
    if "GenuineIntel" in cpuinfo:
        return f"switch VT-d on in the firmware's set-up, and intel_iommu=on in {_GRUB}"
    return "switch the IOMMU (VT-d, AMD-Vi, SMMU) on in the firmware's set-up, if there is one"


def _remapping(root: Path) -> Iterator[Finding]:
    """x86 alone: the kernel names the interrupt controllers of remapped interrupts IR-..."""
    interrupts = text_of(root / "proc/interrupts")
    if "IO-APIC" in interrupts:
        remapped = "IR-" in interrupts
        yield Finding(
            "interrupts",
            remapped,
            "remapped: a device fires only its own" if remapped else "not remapped: VFIO refuses",
            "switch it on in the firmware's set-up, and boot without intremap=off; for devices "
            "that you trust: vfio_iommu_type1.allow_unsafe_interrupts=1",
        )


def groups(root: Path) -> Iterator[Finding]:
    """Each group with a device that is no bridge: whose it is, who blocks it."""
    seen: set[str] = set()
    for function in sysfs.functions(root):
        number = function.group
        if number is not None and number not in seen and not function.is_bridge:
            seen.add(number)
            yield _group(number, function)


def _group(number: str, function: SysFunction) -> Finding:
    """Wrong is only a group of which vfio-pci has a part and cannot use it."""
    members = [member for member in group.members(function) if not member.bridge or member.blocks]
    blocking = [member for member in members if member.blocks]
    wanted = any(member.driver == "vfio-pci" for member in members)
    texts = [f"{m.address} ({m.driver or 'no driver'})" for m in members]
    found = ", ".join(texts)
    if blocking and len(members) > 1:
        found += "; in the way of VFIO: " + ", ".join(member.address for member in blocking)
    remedy = " and ".join(f"`{member.remedy}`" for member in blocking)
    return Finding(f"IOMMU group {number}", not (wanted and blocking), found, f"as root: {remedy}")


def noiommu(root: Path) -> Iterator[Finding]:
    """VFIO without an IOMMU, which the kernel calls unsafe."""
    text = text_of(root / _UNSAFE)
    if text:
        yield Finding(
            "VFIO no-IOMMU",
            text not in ("Y", "1"),
            "off" if text not in ("Y", "1") else "on: devices so bound reach all of the memory",
            f"echo N > /{_UNSAFE}",
        )
