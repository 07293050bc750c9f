"""Capabilities of configuration space: their names, and the registers of each.

    cap = capability(PCI_CAP_MSI)
    for register in cap.layout(lambda offset: pci_conf_read(pc, tag, start + offset)):
        ...

The ids are in `pcireg`.  The registers are declared in `std`, `old`
(before PCI Express), `express` (PCI Express itself), and for extended
capabilities in `ext`, `exterr` and `extvirt`.  Configuration space
is read 32 bits at a time, so a register is one dword, at an offset in bytes
from the start of its capability; 8- and 16-bit registers are its fields.
"""

from __future__ import annotations

from rumpci import pcireg as ids
from rumpci.pcicap import ext, exterr as err, extvirt as virt, old, std
from rumpci.pcicap.declare import PCI_CAPLIST, PCI_EXTCAPLIST, Capability
from rumpci.pcicap.express import PCIE_REGISTERS, pcie_layout

__all__ = ["CAPABILITIES", "EXT_CAPABILITIES", "Capability", "capability", "ext_capability"]

_FIRST = (PCI_CAPLIST,)
_EXT_FIRST = (PCI_EXTCAPLIST,)

CAPABILITIES: dict[int, Capability] = {
    cap.id: cap
    for cap in (
        Capability(ids.PCI_CAP_RESERVED0, "null", _FIRST),
        Capability(ids.PCI_CAP_PWRMGMT, "power management", std.PM_REGISTERS),
        Capability(ids.PCI_CAP_AGP, "AGP", old.AGP_REGISTERS),
        Capability(ids.PCI_CAP_VPD, "vital product data", std.VPD_REGISTERS),
        Capability(ids.PCI_CAP_SLOTID, "slot identification", (old.PCI_SLOTID,)),
        Capability(ids.PCI_CAP_MSI, "MSI", std.MSI_REGISTERS, std.msi_layout),
        Capability(ids.PCI_CAP_CPCI_HOTSWAP, "CompactPCI hot swap", (old.PCI_HOTSWAP,)),
        Capability(ids.PCI_CAP_PCIX, "PCI-X", old.PCIX_DEVICE, old.pcix_layout),
        Capability(ids.PCI_CAP_LDT, "HyperTransport", (old.PCI_HT_CMD,), old.ht_layout),
        Capability(ids.PCI_CAP_VENDSPEC, "vendor specific", (std.PCI_VENDSPEC,)),
        Capability(ids.PCI_CAP_DEBUGPORT, "debug port", (old.PCI_DEBUG_BASE,)),
        Capability(ids.PCI_CAP_CPCI_RSRCCTL, "CompactPCI resource control", _FIRST),
        Capability(ids.PCI_CAP_HOTPLUG, "hot-plug controller", (old.PCI_SHPC, old.PCI_SHPC_DATA)),
        Capability(ids.PCI_CAP_SUBVENDOR, "subsystem id", (PCI_CAPLIST, std.PCI_SUBVENDOR_ID)),
        Capability(ids.PCI_CAP_AGP8, "AGP 8x", _FIRST),
        Capability(ids.PCI_CAP_SECURE, "secure device", _FIRST),
        Capability(ids.PCI_CAP_PCIEXPRESS, "PCI Express", PCIE_REGISTERS, pcie_layout),
        Capability(ids.PCI_CAP_MSIX, "MSI-X", std.MSIX_REGISTERS),
        Capability(ids.PCI_CAP_SATA, "SATA", std.SATA_REGISTERS, std.sata_layout),
        Capability(ids.PCI_CAP_PCIAF, "advanced features", std.AF_REGISTERS),
        Capability(ids.PCI_CAP_EA, "enhanced allocation", std.EA_REGISTERS, std.ea_layout),
        Capability(ids.PCI_CAP_FPB, "flattening portal bridge", _FIRST),
    )
}
"""Every capability with a name, by id (PCI Code and ID Assignment, 2)."""

EXT_CAPABILITIES: dict[int, Capability] = {
    cap.id: cap
    for cap in (
        Capability(ids.PCI_EXTCAP_NULL, "null", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_AER, "advanced error reporting", err.AER_REGISTERS, err.aer_layout
        ),
        Capability(ids.PCI_EXTCAP_VC, "virtual channel", ext.VC_REGISTERS, ext.vc_layout),
        Capability(ids.PCI_EXTCAP_SERNUM, "device serial number", ext.SERNUM_REGISTERS),
        Capability(ids.PCI_EXTCAP_PWRBDGT, "power budgeting", ext.PWRBDGT_REGISTERS),
        Capability(
            ids.PCI_EXTCAP_RCLINK_DCL, "root complex link declaration", ext.RCLINK_DCL_REGISTERS
        ),
        Capability(ids.PCI_EXTCAP_RCLINK_CTL, "root complex internal link control", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_RCEC_ASSOC, "root complex event collector association", _EXT_FIRST
        ),
        Capability(ids.PCI_EXTCAP_MFVC, "multi-function virtual channel", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_VC2, "virtual channel (with MFVC)", ext.VC_REGISTERS, ext.vc_layout
        ),
        Capability(ids.PCI_EXTCAP_RCRB, "root complex register block", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_VENDOR, "vendor specific (VSEC)", ext.VSEC_REGISTERS),
        Capability(ids.PCI_EXTCAP_CAC, "configuration access correlation", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_ACS, "access control services", virt.ACS_REGISTERS, virt.acs_layout
        ),
        Capability(ids.PCI_EXTCAP_ARI, "alternative routing id", virt.ARI_REGISTERS),
        Capability(ids.PCI_EXTCAP_ATS, "address translation services", virt.ATS_REGISTERS),
        Capability(ids.PCI_EXTCAP_SRIOV, "SR-IOV", virt.SRIOV_REGISTERS),
        Capability(ids.PCI_EXTCAP_MRIOV, "MR-IOV", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_MCAST, "multicast", ext.MCAST_REGISTERS, ext.mcast_layout),
        Capability(ids.PCI_EXTCAP_PAGE_REQ, "page request", virt.PRI_REGISTERS),
        Capability(ids.PCI_EXTCAP_AMD, "reserved for AMD", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_RESIZBAR, "resizable BAR", ext.RESIZBAR_REGISTERS, ext.resizbar_layout
        ),
        Capability(ids.PCI_EXTCAP_DPA, "dynamic power allocation", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_TPH_REQ, "TPH requester", ext.TPH_REGISTERS, ext.tph_layout),
        Capability(ids.PCI_EXTCAP_LTR, "latency tolerance reporting", ext.LTR_REGISTERS),
        Capability(ids.PCI_EXTCAP_SEC_PCIE, "secondary PCI Express", ext.SECPCIE_REGISTERS),
        Capability(ids.PCI_EXTCAP_PMUX, "protocol multiplexing", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_PASID, "process address space id", virt.PASID_REGISTERS),
        Capability(ids.PCI_EXTCAP_LNR, "lightweight notification requester", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_DPC, "downstream port containment", err.DPC_REGISTERS, err.dpc_layout
        ),
        Capability(ids.PCI_EXTCAP_L1PM, "L1 PM substates", ext.L1PM_REGISTERS, ext.l1pm_layout),
        Capability(ids.PCI_EXTCAP_PTM, "precision time measurement", ext.PTM_REGISTERS),
        Capability(ids.PCI_EXTCAP_MPCIE, "PCI Express over M-PHY", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_FRSQ, "FRS queueing", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_RTR, "readiness time reporting", _EXT_FIRST),
        Capability(
            ids.PCI_EXTCAP_DESIGVNDSP, "designated vendor specific (DVSEC)", ext.DVSEC_REGISTERS
        ),
        Capability(
            ids.PCI_EXTCAP_VF_RESIZBAR,
            "VF resizable BAR",
            ext.RESIZBAR_REGISTERS,
            ext.resizbar_layout,
        ),
        Capability(ids.PCI_EXTCAP_DLF, "data link feature", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_PL16G, "physical layer 16 GT/s", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_LMR, "lane margining at the receiver", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_HIERARCHYID, "hierarchy id", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_NPEM, "native PCIe enclosure management", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_PL32G, "physical layer 32 GT/s", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_AP, "alternate protocol", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_SFI, "system firmware intermediary", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_SHADOW, "shadow functions", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_DOE, "data object exchange", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_DEV3, "device 3", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_IDE, "integrity and data encryption", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_PL64G, "physical layer 64 GT/s", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_FLIT_LOG, "flit logging", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_FLIT_PERF, "flit performance measurement", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_FLIT_ERRINJ, "flit error injection", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_SVC, "streamlined virtual channel", _EXT_FIRST),
        Capability(ids.PCI_EXTCAP_MMIO_RBL, "MMIO register block locator", _EXT_FIRST),
    )
}
"""Every extended capability with a name, by id (PCI Code and ID Assignment, 3)."""


def capability(capid: int) -> Capability:
    """The capability with that id; one that is not known has its first dword only."""
    unknown = Capability(capid, f"unknown capability {capid:#04x}", _FIRST)
    return CAPABILITIES.get(capid, unknown)


def ext_capability(capid: int) -> Capability:
    """The extended capability with that id; one that is not known has its first dword only."""
    unknown = Capability(capid, f"unknown extended capability {capid:#06x}", _EXT_FIRST)
    return EXT_CAPABILITIES.get(capid, unknown)
