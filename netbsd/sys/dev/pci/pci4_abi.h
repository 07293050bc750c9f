/*
 * pci(4): the operations and structures between a driver process and a guard.
 * Generated from src/rumpci/pci4/abi.py by `python -m rumpci.pci4.cheader`: do not edit.
 *
 * All fields are little-endian and at multiples of their size; there is no padding that is
 * not named, and no pointer.  docs/pci4-protocol.md has what each operation does.
 */

#ifndef _PCI4_ABI_H_
#define _PCI4_ABI_H_

#ifdef _KERNEL
#include <sys/types.h>
#else
#include <stdint.h>
#endif
#ifdef __NetBSD__
#include <sys/ioccom.h>
#endif

#define PCI4_VERSION      1           /* What both ends have to speak. */
#define PCI4_MAGIC        0x34494350  /* The first word of every message: "PCI4". */
#define PCI4_NAME         32          /* Bytes of a client's or a driver's name. */
#define PCI4_TEXT         1024        /* Bytes of each part of an error's text. */
#define PCI4_DATA         3584        /* Bytes of data in one access message. */
#define PCI4_ACCESSES     160         /* Accesses in one batch. */
#define PCI4_VECTORS      128         /* Interrupts in one allocation. */
#define PCI4_RANGES       100         /* Segments of an allocation, and ranges of its descriptor. */
#define PCI4_PIECES       50          /* Pieces that are loaded at once. */
#define PCI4_LOADED       150         /* Segments of what is loaded at once. */
#define PCI4_FEW          8           /* Segments of a piece that is loaded by itself. */
#define PCI4_ROWS         20          /* Rows of the mirror in one answer. */
#define PCI4_SEGMENTS     100         /* Segments of these rows together. */
#define PCI4_LEAVES       128         /* Leaves of an IOMMU's tables in one answer. */
#define PCI4_SHIM         1024        /* Bytes of a shim. */

/*
 * The operations; a number is never used again for another.  55 and 58 were others.
 */
enum pci4_op {
	PCI4_OP_VERSION = 1,
	PCI4_OP_LIST = 2,
	PCI4_OP_CONF_READ = 3,
	PCI4_OP_CLAIM = 4,
	PCI4_OP_RELEASE = 5,
	PCI4_OP_CONF_WRITE = 6,
	PCI4_OP_CLAIM_LIST = 7,
	PCI4_OP_WINDOW_MAP = 16,
	PCI4_OP_WINDOW_UNMAP = 17,
	PCI4_OP_WINDOW_READ = 18,
	PCI4_OP_WINDOW_WRITE = 19,
	PCI4_OP_WINDOW_BATCH = 20,
	PCI4_OP_WINDOW_PRESENT = 21,
	PCI4_OP_WINDOW_BARRIER = 22,
	PCI4_OP_WINDOW_ACCESS = 23,
	PCI4_OP_INTR_COUNT = 32,
	PCI4_OP_INTR_ALLOC = 33,
	PCI4_OP_INTR_ESTABLISH = 34,
	PCI4_OP_INTR_CONTROL = 35,
	PCI4_OP_INTR_RELEASE = 36,
	PCI4_OP_INTR_LIST = 37,
	PCI4_OP_DMA_ALLOC = 48,
	PCI4_OP_DMA_FREE = 49,
	PCI4_OP_DMAMAP_CREATE = 50,
	PCI4_OP_DMAMAP_LOAD = 51,
	PCI4_OP_DMAMAP_UNLOAD = 52,
	PCI4_OP_DMAMAP_DESTROY = 53,
	PCI4_OP_DMA_FAULTS = 54,
	PCI4_OP_DMA_USAGE = 56,
	PCI4_OP_DMA_CHECK = 57,
	PCI4_OP_DMAMAP_LOAD_PIECE = 59,
	PCI4_OP_DMA_PAGE = 60,
	PCI4_OP_IOMMU_PAGE = 61,
};

/*
 * What INTR_CONTROL does.
 */
enum pci4_control {
	PCI4_CONTROL_UNMASK = 0,
	PCI4_CONTROL_MASK = 1,
	PCI4_CONTROL_PENDING = 2,
	PCI4_CONTROL_DISESTABLISH = 3,
};

/*
 * What CLAIM_LIST says of a function; ALLOWED: this client may claim it.
 */
enum pci4_holding {
	PCI4_HOLDING_CLAIMED = 1,
	PCI4_HOLDING_TOLD = 2,
	PCI4_HOLDING_ALLOWED = 4,
};

/*
 * Before every structure: `serial` is the caller's, and comes back; `errno` is an answer's.
 */
struct pci4_header {
	uint32_t magic;
	uint32_t op;
	uint32_t serial;
	int32_t  error;
};
_Static_assert(sizeof(struct pci4_header) == 16, "size of struct pci4_header");
_Static_assert(__builtin_offsetof(struct pci4_header, magic) == 0,
    "offset of magic in struct pci4_header");
_Static_assert(__builtin_offsetof(struct pci4_header, op) == 4,
    "offset of op in struct pci4_header");
_Static_assert(__builtin_offsetof(struct pci4_header, serial) == 8,
    "offset of serial in struct pci4_header");
_Static_assert(__builtin_offsetof(struct pci4_header, error) == 12,
    "offset of error in struct pci4_header");

/*
 * Why an operation was refused: the error's class, and its text in three parts.
 *
 * `done` is how many accesses of a batch were made before the one that was refused.
 */
struct pci4_error {
	char     name[64];
	char     tried[1024];
	char     why[1024];
	char     remedy[1024];
	uint32_t done;
	uint32_t pad;
};
_Static_assert(sizeof(struct pci4_error) == 3144, "size of struct pci4_error");
_Static_assert(__builtin_offsetof(struct pci4_error, name) == 0,
    "offset of name in struct pci4_error");
_Static_assert(__builtin_offsetof(struct pci4_error, tried) == 64,
    "offset of tried in struct pci4_error");
_Static_assert(__builtin_offsetof(struct pci4_error, why) == 1088,
    "offset of why in struct pci4_error");
_Static_assert(__builtin_offsetof(struct pci4_error, remedy) == 2112,
    "offset of remedy in struct pci4_error");
_Static_assert(__builtin_offsetof(struct pci4_error, done) == 3136,
    "offset of done in struct pci4_error");
_Static_assert(__builtin_offsetof(struct pci4_error, pad) == 3140,
    "offset of pad in struct pci4_error");

/*
 * First of all: the client's version, then the server's, its features and its host's URL.
 */
struct pci4_version {
	uint32_t version;
	uint32_t pad;
	uint64_t features;
	char     url[512];
};
_Static_assert(sizeof(struct pci4_version) == 528, "size of struct pci4_version");
_Static_assert(__builtin_offsetof(struct pci4_version, version) == 0,
    "offset of version in struct pci4_version");
_Static_assert(__builtin_offsetof(struct pci4_version, pad) == 4,
    "offset of pad in struct pci4_version");
_Static_assert(__builtin_offsetof(struct pci4_version, features) == 8,
    "offset of features in struct pci4_version");
_Static_assert(__builtin_offsetof(struct pci4_version, url) == 16,
    "offset of url in struct pci4_version");

/*
 * Function number `index` of `total`; BARs by their number (`size` 0: none).
 *
 * `flags` of a BAR: 1 I/O space, 2 64-bit, 4 prefetchable.  `secondary` is -1 without a bus.
 */
struct pci4_list {
	uint32_t index;
	uint32_t total;
	uint32_t address;
	uint32_t id;
	uint32_t class_;
	uint32_t header;
	int32_t  secondary;
	uint32_t pad;
	uint64_t bar_base[6];
	uint64_t bar_size[6];
	uint32_t bar_flags[6];
	char     claimed_by[32];
};
_Static_assert(sizeof(struct pci4_list) == 184, "size of struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, index) == 0,
    "offset of index in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, total) == 4,
    "offset of total in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, address) == 8,
    "offset of address in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, id) == 12,
    "offset of id in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, class_) == 16,
    "offset of class_ in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, header) == 20,
    "offset of header in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, secondary) == 24,
    "offset of secondary in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, pad) == 28,
    "offset of pad in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, bar_base) == 32,
    "offset of bar_base in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, bar_size) == 80,
    "offset of bar_size in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, bar_flags) == 128,
    "offset of bar_flags in struct pci4_list");
_Static_assert(__builtin_offsetof(struct pci4_list, claimed_by) == 152,
    "offset of claimed_by in struct pci4_list");

/*
 * Row `index` of `total`: who holds a function, process `pid`; `flags`: see `Holding`.
 */
struct pci4_claim_list {
	uint32_t index;
	uint32_t total;
	uint32_t address;
	uint32_t flags;
	uint32_t uid;
	int32_t  pid;
	char     who[32];
};
_Static_assert(sizeof(struct pci4_claim_list) == 56, "size of struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, index) == 0,
    "offset of index in struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, total) == 4,
    "offset of total in struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, address) == 8,
    "offset of address in struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, flags) == 12,
    "offset of flags in struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, uid) == 16,
    "offset of uid in struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, pid) == 20,
    "offset of pid in struct pci4_claim_list");
_Static_assert(__builtin_offsetof(struct pci4_claim_list, who) == 24,
    "offset of who in struct pci4_claim_list");

/*
 * Read 32 bits of any function's configuration space (`claim` 0), or a claimed one's view.
 */
struct pci4_conf_read {
	uint32_t claim;
	uint32_t address;
	uint32_t reg;
	uint32_t value;
};
_Static_assert(sizeof(struct pci4_conf_read) == 16, "size of struct pci4_conf_read");
_Static_assert(__builtin_offsetof(struct pci4_conf_read, claim) == 0,
    "offset of claim in struct pci4_conf_read");
_Static_assert(__builtin_offsetof(struct pci4_conf_read, address) == 4,
    "offset of address in struct pci4_conf_read");
_Static_assert(__builtin_offsetof(struct pci4_conf_read, reg) == 8,
    "offset of reg in struct pci4_conf_read");
_Static_assert(__builtin_offsetof(struct pci4_conf_read, value) == 12,
    "offset of value in struct pci4_conf_read");

/*
 * Write 32 bits of a claimed function's configuration space.
 */
struct pci4_conf_write {
	uint32_t claim;
	uint32_t reg;
	uint32_t value;
	uint32_t pad;
};
_Static_assert(sizeof(struct pci4_conf_write) == 16, "size of struct pci4_conf_write");
_Static_assert(__builtin_offsetof(struct pci4_conf_write, claim) == 0,
    "offset of claim in struct pci4_conf_write");
_Static_assert(__builtin_offsetof(struct pci4_conf_write, reg) == 4,
    "offset of reg in struct pci4_conf_write");
_Static_assert(__builtin_offsetof(struct pci4_conf_write, value) == 8,
    "offset of value in struct pci4_conf_write");
_Static_assert(__builtin_offsetof(struct pci4_conf_write, pad) == 12,
    "offset of pad in struct pci4_conf_write");

/*
 * Take a function for `who`; `claim` is its handle.
 */
struct pci4_claim {
	uint32_t address;
	uint32_t claim;
	char     who[32];
};
_Static_assert(sizeof(struct pci4_claim) == 40, "size of struct pci4_claim");
_Static_assert(__builtin_offsetof(struct pci4_claim, address) == 0,
    "offset of address in struct pci4_claim");
_Static_assert(__builtin_offsetof(struct pci4_claim, claim) == 4,
    "offset of claim in struct pci4_claim");
_Static_assert(__builtin_offsetof(struct pci4_claim, who) == 8,
    "offset of who in struct pci4_claim");

/*
 * Operations on one handle: release, unmap, present, barrier, free, unload, destroy.
 *
 * `value` is the answer of those that have one.  INTR_RELEASE's handle is the claim.
 */
struct pci4_handle {
	uint32_t handle;
	uint32_t value;
};
_Static_assert(sizeof(struct pci4_handle) == 8, "size of struct pci4_handle");
_Static_assert(__builtin_offsetof(struct pci4_handle, handle) == 0,
    "offset of handle in struct pci4_handle");
_Static_assert(__builtin_offsetof(struct pci4_handle, value) == 4,
    "offset of value in struct pci4_handle");

/*
 * Map `size` bytes at `offset` of a BAR.  `flags`: 1 writable.
 *
 * Where bytes [map_start, map_end) of the window are memory, the answer has its
 * descriptor, to be mapped from `fd_offset` on.  Bytes [closed_start, closed_end) of the
 * BAR are the guard's, if there are any: so a posted write there is refused before it is sent.
 */
struct pci4_window_map {
	uint32_t claim;
	uint32_t bar;
	uint64_t offset;
	uint64_t size;
	uint32_t flags;
	uint32_t window;
	uint64_t map_start;
	uint64_t map_end;
	uint64_t fd_offset;
	uint64_t closed_start;
	uint64_t closed_end;
};
_Static_assert(sizeof(struct pci4_window_map) == 72, "size of struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, claim) == 0,
    "offset of claim in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, bar) == 4,
    "offset of bar in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, offset) == 8,
    "offset of offset in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, size) == 16,
    "offset of size in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, flags) == 24,
    "offset of flags in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, window) == 28,
    "offset of window in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, map_start) == 32,
    "offset of map_start in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, map_end) == 40,
    "offset of map_end in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, fd_offset) == 48,
    "offset of fd_offset in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, closed_start) == 56,
    "offset of closed_start in struct pci4_window_map");
_Static_assert(__builtin_offsetof(struct pci4_window_map, closed_end) == 64,
    "offset of closed_end in struct pci4_window_map");

/*
 * WINDOW_READ and WINDOW_WRITE: `count` accesses of `width` bytes, `step` bytes apart.
 */
struct pci4_window_data {
	uint32_t window;
	uint32_t width;
	uint64_t position;
	uint32_t count;
	uint32_t step;
	uint8_t  data[3584];
};
_Static_assert(sizeof(struct pci4_window_data) == 3608, "size of struct pci4_window_data");
_Static_assert(__builtin_offsetof(struct pci4_window_data, window) == 0,
    "offset of window in struct pci4_window_data");
_Static_assert(__builtin_offsetof(struct pci4_window_data, width) == 4,
    "offset of width in struct pci4_window_data");
_Static_assert(__builtin_offsetof(struct pci4_window_data, position) == 8,
    "offset of position in struct pci4_window_data");
_Static_assert(__builtin_offsetof(struct pci4_window_data, count) == 16,
    "offset of count in struct pci4_window_data");
_Static_assert(__builtin_offsetof(struct pci4_window_data, step) == 20,
    "offset of step in struct pci4_window_data");
_Static_assert(__builtin_offsetof(struct pci4_window_data, data) == 24,
    "offset of data in struct pci4_window_data");

/*
 * Single accesses in their order: `width` bytes, with 16 added for a write.
 *
 * `done` says how many were made; it stops at the first that is refused, and that one's error is
 * the answer, with `done` in it.
 */
struct pci4_window_batch {
	uint32_t count;
	uint32_t done;
	uint32_t window[160];
	uint32_t how[160];
	uint64_t position[160];
	uint64_t value[160];
};
_Static_assert(sizeof(struct pci4_window_batch) == 3848, "size of struct pci4_window_batch");
_Static_assert(__builtin_offsetof(struct pci4_window_batch, count) == 0,
    "offset of count in struct pci4_window_batch");
_Static_assert(__builtin_offsetof(struct pci4_window_batch, done) == 4,
    "offset of done in struct pci4_window_batch");
_Static_assert(__builtin_offsetof(struct pci4_window_batch, window) == 8,
    "offset of window in struct pci4_window_batch");
_Static_assert(__builtin_offsetof(struct pci4_window_batch, how) == 648,
    "offset of how in struct pci4_window_batch");
_Static_assert(__builtin_offsetof(struct pci4_window_batch, position) == 1288,
    "offset of position in struct pci4_window_batch");
_Static_assert(__builtin_offsetof(struct pci4_window_batch, value) == 2568,
    "offset of value in struct pci4_window_batch");

/*
 * One access, as in `WindowBatch`.
 */
struct pci4_window_access {
	uint32_t window;
	uint32_t how;
	uint64_t position;
	uint64_t value;
};
_Static_assert(sizeof(struct pci4_window_access) == 24, "size of struct pci4_window_access");
_Static_assert(__builtin_offsetof(struct pci4_window_access, window) == 0,
    "offset of window in struct pci4_window_access");
_Static_assert(__builtin_offsetof(struct pci4_window_access, how) == 4,
    "offset of how in struct pci4_window_access");
_Static_assert(__builtin_offsetof(struct pci4_window_access, position) == 8,
    "offset of position in struct pci4_window_access");
_Static_assert(__builtin_offsetof(struct pci4_window_access, value) == 16,
    "offset of value in struct pci4_window_access");

/*
 * How many interrupts of a type (0 INTx, 1 MSI, 2 MSI-X) a claimed function has.
 */
struct pci4_intr_count {
	uint32_t claim;
	uint32_t type;
	uint32_t count;
	uint32_t pad;
};
_Static_assert(sizeof(struct pci4_intr_count) == 16, "size of struct pci4_intr_count");
_Static_assert(__builtin_offsetof(struct pci4_intr_count, claim) == 0,
    "offset of claim in struct pci4_intr_count");
_Static_assert(__builtin_offsetof(struct pci4_intr_count, type) == 4,
    "offset of type in struct pci4_intr_count");
_Static_assert(__builtin_offsetof(struct pci4_intr_count, count) == 8,
    "offset of count in struct pci4_intr_count");
_Static_assert(__builtin_offsetof(struct pci4_intr_count, pad) == 12,
    "offset of pad in struct pci4_intr_count");

/*
 * Take the interrupts with these indices.
 *
 * The answer has a descriptor for each, in order: a socket that keeps messages apart, from
 * which events are received, one or several `Event` at once.  `unit` is the name that they
 * share: "ioapic0 pin 22" of INTx, "msix0" of "msix0 vec 1".
 */
struct pci4_intr_alloc {
	uint32_t claim;
	uint32_t type;
	uint32_t count;
	uint32_t pad;
	uint32_t index[128];
	uint32_t intr[128];
	char     unit[32];
};
_Static_assert(sizeof(struct pci4_intr_alloc) == 1072, "size of struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, claim) == 0,
    "offset of claim in struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, type) == 4,
    "offset of type in struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, count) == 8,
    "offset of count in struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, pad) == 12,
    "offset of pad in struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, index) == 16,
    "offset of index in struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, intr) == 528,
    "offset of intr in struct pci4_intr_alloc");
_Static_assert(__builtin_offsetof(struct pci4_intr_alloc, unit) == 1040,
    "offset of unit in struct pci4_intr_alloc");

/*
 * Let an interrupt fire, with a shim of `length` bytes (0: none).
 */
struct pci4_intr_establish {
	uint32_t intr;
	uint32_t length;
	uint8_t  shim[1024];
};
_Static_assert(sizeof(struct pci4_intr_establish) == 1032, "size of struct pci4_intr_establish");
_Static_assert(__builtin_offsetof(struct pci4_intr_establish, intr) == 0,
    "offset of intr in struct pci4_intr_establish");
_Static_assert(__builtin_offsetof(struct pci4_intr_establish, length) == 4,
    "offset of length in struct pci4_intr_establish");
_Static_assert(__builtin_offsetof(struct pci4_intr_establish, shim) == 8,
    "offset of shim in struct pci4_intr_establish");

/*
 * See `Control`; `value` is the answer of PENDING.
 */
struct pci4_intr_control {
	uint32_t intr;
	uint32_t what;
	uint32_t value;
	uint32_t pad;
};
_Static_assert(sizeof(struct pci4_intr_control) == 16, "size of struct pci4_intr_control");
_Static_assert(__builtin_offsetof(struct pci4_intr_control, intr) == 0,
    "offset of intr in struct pci4_intr_control");
_Static_assert(__builtin_offsetof(struct pci4_intr_control, what) == 4,
    "offset of what in struct pci4_intr_control");
_Static_assert(__builtin_offsetof(struct pci4_intr_control, value) == 8,
    "offset of value in struct pci4_intr_control");
_Static_assert(__builtin_offsetof(struct pci4_intr_control, pad) == 12,
    "offset of pad in struct pci4_intr_control");

/*
 * One record of an interrupt, as it is read from its descriptor.
 */
struct pci4_event {
	uint64_t sequence;
	uint64_t count;
	uint32_t vector;
	uint32_t words;
	uint64_t status[4];
};
_Static_assert(sizeof(struct pci4_event) == 56, "size of struct pci4_event");
_Static_assert(__builtin_offsetof(struct pci4_event, sequence) == 0,
    "offset of sequence in struct pci4_event");
_Static_assert(__builtin_offsetof(struct pci4_event, count) == 8,
    "offset of count in struct pci4_event");
_Static_assert(__builtin_offsetof(struct pci4_event, vector) == 16,
    "offset of vector in struct pci4_event");
_Static_assert(__builtin_offsetof(struct pci4_event, words) == 20,
    "offset of words in struct pci4_event");
_Static_assert(__builtin_offsetof(struct pci4_event, status) == 24,
    "offset of status in struct pci4_event");

/*
 * Row `index` of `total` of a host's interrupts, for tools.
 */
struct pci4_intr_list {
	uint32_t index;
	uint32_t total;
	uint32_t address;
	uint32_t msi;
	uint32_t msix;
	uint32_t pad;
	uint64_t count;
	char     name[32];
	char     who[32];
	char     state[32];
};
_Static_assert(sizeof(struct pci4_intr_list) == 128, "size of struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, index) == 0,
    "offset of index in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, total) == 4,
    "offset of total in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, address) == 8,
    "offset of address in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, msi) == 12,
    "offset of msi in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, msix) == 16,
    "offset of msix in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, pad) == 20,
    "offset of pad in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, count) == 24,
    "offset of count in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, name) == 32,
    "offset of name in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, who) == 64,
    "offset of who in struct pci4_intr_list");
_Static_assert(__builtin_offsetof(struct pci4_intr_list, state) == 96,
    "offset of state in struct pci4_intr_list");

/*
 * Take memory.  The answer has a descriptor: `ranges` (offset, bytes) of it, in order.
 */
struct pci4_dma_alloc {
	uint32_t claim;
	uint32_t nsegs;
	uint64_t size;
	uint64_t alignment;
	uint64_t boundary;
	uint64_t low;
	uint64_t high;
	char     name[64];
	uint32_t memory;
	uint32_t count;
	uint32_t nranges;
	uint32_t pad;
	uint64_t seg_addr[100];
	uint64_t seg_len[100];
	uint64_t range_offset[100];
	uint64_t range_len[100];
};
_Static_assert(sizeof(struct pci4_dma_alloc) == 3328, "size of struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, claim) == 0,
    "offset of claim in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, nsegs) == 4,
    "offset of nsegs in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, size) == 8,
    "offset of size in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, alignment) == 16,
    "offset of alignment in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, boundary) == 24,
    "offset of boundary in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, low) == 32,
    "offset of low in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, high) == 40,
    "offset of high in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, name) == 48,
    "offset of name in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, memory) == 112,
    "offset of memory in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, count) == 116,
    "offset of count in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, nranges) == 120,
    "offset of nranges in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, pad) == 124,
    "offset of pad in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, seg_addr) == 128,
    "offset of seg_addr in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, seg_len) == 928,
    "offset of seg_len in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, range_offset) == 1728,
    "offset of range_offset in struct pci4_dma_alloc");
_Static_assert(__builtin_offsetof(struct pci4_dma_alloc, range_len) == 2528,
    "offset of range_len in struct pci4_dma_alloc");

/*
 * Take a map.
 */
struct pci4_dmamap_create {
	uint32_t claim;
	uint32_t nsegments;
	uint64_t size;
	uint64_t maxsegsz;
	uint64_t boundary;
	uint64_t low;
	uint64_t high;
	char     name[64];
	uint32_t map;
	uint32_t pad;
};
_Static_assert(sizeof(struct pci4_dmamap_create) == 120, "size of struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, claim) == 0,
    "offset of claim in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, nsegments) == 4,
    "offset of nsegments in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, size) == 8,
    "offset of size in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, maxsegsz) == 16,
    "offset of maxsegsz in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, boundary) == 24,
    "offset of boundary in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, low) == 32,
    "offset of low in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, high) == 40,
    "offset of high in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, name) == 48,
    "offset of name in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, map) == 112,
    "offset of map in struct pci4_dmamap_create");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_create, pad) == 116,
    "offset of pad in struct pci4_dmamap_create");

/*
 * Load pieces of memory; `direction` 1 READ, 2 WRITE, 3 both.  The answer has the segments.
 */
struct pci4_dmamap_load {
	uint32_t map;
	uint32_t direction;
	uint32_t npieces;
	uint32_t count;
	uint32_t memory[50];
	uint64_t offset[50];
	uint64_t length[50];
	uint64_t seg_addr[150];
	uint64_t seg_len[150];
};
_Static_assert(sizeof(struct pci4_dmamap_load) == 3416, "size of struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, map) == 0,
    "offset of map in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, direction) == 4,
    "offset of direction in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, npieces) == 8,
    "offset of npieces in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, count) == 12,
    "offset of count in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, memory) == 16,
    "offset of memory in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, offset) == 216,
    "offset of offset in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, length) == 616,
    "offset of length in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, seg_addr) == 1016,
    "offset of seg_addr in struct pci4_dmamap_load");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load, seg_len) == 2216,
    "offset of seg_len in struct pci4_dmamap_load");

/*
 * As DmamapLoad, for one piece in few segments, as most loads are: a short message.
 */
struct pci4_dmamap_load_piece {
	uint32_t map;
	uint32_t direction;
	uint32_t memory;
	uint32_t count;
	uint64_t offset;
	uint64_t length;
	uint64_t seg_addr[8];
	uint64_t seg_len[8];
};
_Static_assert(sizeof(struct pci4_dmamap_load_piece) == 160, "size of struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, map) == 0,
    "offset of map in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, direction) == 4,
    "offset of direction in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, memory) == 8,
    "offset of memory in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, count) == 12,
    "offset of count in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, offset) == 16,
    "offset of offset in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, length) == 24,
    "offset of length in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, seg_addr) == 32,
    "offset of seg_addr in struct pci4_dmamap_load_piece");
_Static_assert(__builtin_offsetof(struct pci4_dmamap_load_piece, seg_len) == 96,
    "offset of seg_len in struct pci4_dmamap_load_piece");

/*
 * The oldest fault of a claimed function that was not told yet; `valid` 0: there is none.
 */
struct pci4_dma_faults {
	uint32_t claim;
	uint32_t valid;
	uint32_t device;
	uint32_t lost;
	uint64_t addr;
	char     verb[8];
	char     who[32];
	char     reason[256];
	char     nearest[256];
};
_Static_assert(sizeof(struct pci4_dma_faults) == 576, "size of struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, claim) == 0,
    "offset of claim in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, valid) == 4,
    "offset of valid in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, device) == 8,
    "offset of device in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, lost) == 12,
    "offset of lost in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, addr) == 16,
    "offset of addr in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, verb) == 24,
    "offset of verb in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, who) == 32,
    "offset of who in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, reason) == 64,
    "offset of reason in struct pci4_dma_faults");
_Static_assert(__builtin_offsetof(struct pci4_dma_faults, nearest) == 320,
    "offset of nearest in struct pci4_dma_faults");

/*
 * `count` rows of the mirror from number `index` of `total` on, the first from `segment` on.
 *
 * `kind` 0 memory, 1 a map; `name` and `who` 64 and 32 bytes for each row.  Segments that do
 * not fit are asked for again, by row and `segment`.
 */
struct pci4_dma_page {
	uint32_t index;
	uint32_t segment;
	uint32_t total;
	uint32_t count;
	uint32_t device[20];
	uint32_t kind[20];
	uint32_t direction[20];
	uint32_t nsegs[20];
	uint64_t size[20];
	uint8_t  name[1280];
	uint8_t  who[640];
	uint64_t seg_addr[100];
	uint64_t seg_len[100];
};
_Static_assert(sizeof(struct pci4_dma_page) == 4016, "size of struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, index) == 0,
    "offset of index in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, segment) == 4,
    "offset of segment in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, total) == 8,
    "offset of total in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, count) == 12,
    "offset of count in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, device) == 16,
    "offset of device in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, kind) == 96,
    "offset of kind in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, direction) == 176,
    "offset of direction in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, nsegs) == 256,
    "offset of nsegs in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, size) == 336,
    "offset of size in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, name) == 496,
    "offset of name in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, who) == 1776,
    "offset of who in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, seg_addr) == 2416,
    "offset of seg_addr in struct pci4_dma_page");
_Static_assert(__builtin_offsetof(struct pci4_dma_page, seg_len) == 3216,
    "offset of seg_len in struct pci4_dma_page");

/*
 * Row `index` of `total` of what clients hold.
 */
struct pci4_dma_usage {
	uint32_t index;
	uint32_t total;
	uint32_t device;
	uint32_t pad;
	uint64_t bytes;
	uint64_t bytes_max;
	uint64_t objects;
	uint64_t objects_max;
	char     who[32];
};
_Static_assert(sizeof(struct pci4_dma_usage) == 80, "size of struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, index) == 0,
    "offset of index in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, total) == 4,
    "offset of total in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, device) == 8,
    "offset of device in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, pad) == 12,
    "offset of pad in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, bytes) == 16,
    "offset of bytes in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, bytes_max) == 24,
    "offset of bytes_max in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, objects) == 32,
    "offset of objects in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, objects_max) == 40,
    "offset of objects_max in struct pci4_dma_usage");
_Static_assert(__builtin_offsetof(struct pci4_dma_usage, who) == 48,
    "offset of who in struct pci4_dma_usage");

/*
 * Difference `index` of `total` between the mirror and the IOMMU's tables, in words.
 */
struct pci4_dma_check {
	uint32_t index;
	uint32_t total;
	char     text[512];
};
_Static_assert(sizeof(struct pci4_dma_check) == 520, "size of struct pci4_dma_check");
_Static_assert(__builtin_offsetof(struct pci4_dma_check, index) == 0,
    "offset of index in struct pci4_dma_check");
_Static_assert(__builtin_offsetof(struct pci4_dma_check, total) == 4,
    "offset of total in struct pci4_dma_check");
_Static_assert(__builtin_offsetof(struct pci4_dma_check, text) == 8,
    "offset of text in struct pci4_dma_check");

/*
 * `count` leaves of the IOMMU's tables from requester id and bus address on.
 *
 * `more` 1: there are others, from the answer's.  Memory addresses are not told.
 */
struct pci4_iommu_page {
	uint32_t requester;
	uint32_t more;
	uint64_t addr;
	uint32_t count;
	uint32_t pad;
	uint32_t device[128];
	uint32_t direction[128];
	uint64_t leaf_addr[128];
	uint64_t leaf_size[128];
};
_Static_assert(sizeof(struct pci4_iommu_page) == 3096, "size of struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, requester) == 0,
    "offset of requester in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, more) == 4,
    "offset of more in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, addr) == 8,
    "offset of addr in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, count) == 16,
    "offset of count in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, pad) == 20,
    "offset of pad in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, device) == 24,
    "offset of device in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, direction) == 536,
    "offset of direction in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, leaf_addr) == 1048,
    "offset of leaf_addr in struct pci4_iommu_page");
_Static_assert(__builtin_offsetof(struct pci4_iommu_page, leaf_size) == 2072,
    "offset of leaf_size in struct pci4_iommu_page");

#ifdef __NetBSD__
#define PCI4_IOC_VERSION          _IOWR('p', 1, struct pci4_version)
#define PCI4_IOC_LIST             _IOWR('p', 2, struct pci4_list)
#define PCI4_IOC_CONF_READ        _IOWR('p', 3, struct pci4_conf_read)
#define PCI4_IOC_CLAIM            _IOWR('p', 4, struct pci4_claim)
#define PCI4_IOC_RELEASE          _IOWR('p', 5, struct pci4_handle)
#define PCI4_IOC_CONF_WRITE       _IOWR('p', 6, struct pci4_conf_write)
#define PCI4_IOC_CLAIM_LIST       _IOWR('p', 7, struct pci4_claim_list)
#define PCI4_IOC_WINDOW_MAP       _IOWR('p', 16, struct pci4_window_map)
#define PCI4_IOC_WINDOW_UNMAP     _IOWR('p', 17, struct pci4_handle)
#define PCI4_IOC_WINDOW_READ      _IOWR('p', 18, struct pci4_window_data)
#define PCI4_IOC_WINDOW_WRITE     _IOWR('p', 19, struct pci4_window_data)
#define PCI4_IOC_WINDOW_BATCH     _IOWR('p', 20, struct pci4_window_batch)
#define PCI4_IOC_WINDOW_PRESENT   _IOWR('p', 21, struct pci4_handle)
#define PCI4_IOC_WINDOW_BARRIER   _IOWR('p', 22, struct pci4_handle)
#define PCI4_IOC_WINDOW_ACCESS    _IOWR('p', 23, struct pci4_window_access)
#define PCI4_IOC_INTR_COUNT       _IOWR('p', 32, struct pci4_intr_count)
#define PCI4_IOC_INTR_ALLOC       _IOWR('p', 33, struct pci4_intr_alloc)
#define PCI4_IOC_INTR_ESTABLISH   _IOWR('p', 34, struct pci4_intr_establish)
#define PCI4_IOC_INTR_CONTROL     _IOWR('p', 35, struct pci4_intr_control)
#define PCI4_IOC_INTR_RELEASE     _IOWR('p', 36, struct pci4_handle)
#define PCI4_IOC_INTR_LIST        _IOWR('p', 37, struct pci4_intr_list)
#define PCI4_IOC_DMA_ALLOC        _IOWR('p', 48, struct pci4_dma_alloc)
#define PCI4_IOC_DMA_FREE         _IOWR('p', 49, struct pci4_handle)
#define PCI4_IOC_DMAMAP_CREATE    _IOWR('p', 50, struct pci4_dmamap_create)
#define PCI4_IOC_DMAMAP_LOAD      _IOWR('p', 51, struct pci4_dmamap_load)
#define PCI4_IOC_DMAMAP_UNLOAD    _IOWR('p', 52, struct pci4_handle)
#define PCI4_IOC_DMAMAP_DESTROY   _IOWR('p', 53, struct pci4_handle)
#define PCI4_IOC_DMA_FAULTS       _IOWR('p', 54, struct pci4_dma_faults)
#define PCI4_IOC_DMA_USAGE        _IOWR('p', 56, struct pci4_dma_usage)
#define PCI4_IOC_DMA_CHECK        _IOWR('p', 57, struct pci4_dma_check)
#define PCI4_IOC_DMAMAP_LOAD_PIECE _IOWR('p', 59, struct pci4_dmamap_load_piece)
#define PCI4_IOC_DMA_PAGE         _IOWR('p', 60, struct pci4_dma_page)
#define PCI4_IOC_IOMMU_PAGE       _IOWR('p', 61, struct pci4_iommu_page)
#endif

#endif /* !_PCI4_ABI_H_ */
