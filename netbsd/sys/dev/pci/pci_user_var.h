/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What the files of the core share; nobody else includes it. */

#ifndef _DEV_PCI_PCI_USER_VAR_H_
#define _DEV_PCI_PCI_USER_VAR_H_

#include "pci_user_core.h"

#define PCU_EVENTS	32	/* of an interrupt that wait; then merged */
#define PCU_STORM	10000	/* events in a row without a pause */
#define PCU_FAULTS	16	/* of a function that wait */
#define PCU_MSIX_ENTRY	16	/* bytes */
#define PCU_NRULES	5	/* the header's two, and of capabilities */
#define PCU_NBARREGS	(PCU_BARS + 1)		/* and the ROM's */
/* Bytes as whole pages. */
#define PCU_PAGES(bytes)	(((bytes) + PCU_PAGE - 1) / PCU_PAGE * PCU_PAGE)
#define PCU_NAME	(PCI4_NAME + 1)
#define PCU_LABEL	(64 + 1)		/* memory's and maps' names */

/* pci_user_conf.c: a client's view of configuration space. */

/* Of one register: bits to write, to clear by ones; what a one triggers. */
struct pcu_rule {
	uint32_t	ru_reg, ru_write, ru_clear, ru_w1c, ru_fixed;
};

/* Offsets of capabilities; 0: there is none. */
struct pcu_caps {
	uint8_t		ca_power, ca_vpd, ca_express, ca_msi, ca_msix, ca_af;
};

struct pcu_conf {
	struct pcu_caps	 co_caps;
	unsigned int	 co_nrules;
	struct pcu_rule	 co_rule[PCU_NRULES];
	uint8_t		 co_sizing;	/* a bit for each BAR register */
	uint32_t	 co_shown[PCU_NBARREGS];	/* while it is sized */
	uint32_t	 co_saved[PCU_NBARREGS];
	uint32_t	 co_saved_command, co_saved_bhlc;
};

/* What a handle stands for. */
enum pcu_kind {
	PCU_KIND_CLAIM, PCU_KIND_WINDOW, PCU_KIND_INTR, PCU_KIND_MEM,
	PCU_KIND_MAP
};

/*
 * Everything with a handle begins with this.  Memory and maps are listed:
 * whoever tells a listing has a reference, and finds them dead.
 */
struct pcu_obj {
	LIST_ENTRY(pcu_obj)	 ob_hash;	/* of the client's handles */
	LIST_ENTRY(pcu_obj)	 ob_held;	/* of the claim's */
	struct pcu_claim	*ob_claim;	/* NULL: it is dead */
	uint32_t		 ob_handle;
	uint32_t		 ob_refs;
	enum pcu_kind		 ob_kind;
};
LIST_HEAD(pcu_objs, pcu_obj);

struct pcu_window {
	struct pcu_obj	 wi_obj;
	unsigned int	 wi_bar;
	bool		 wi_io, wi_writable;
	uint64_t	 wi_offset, wi_size;
	struct pcu_range wi_closed;		/* empty: low == high */
	uint64_t	 wi_mmap, wi_mapped;	/* offset and bytes, or 0 */
};

struct pcu_intr {
	struct pcu_obj		 in_obj;
	struct pcu_func		*in_func;
	struct pcu_client	*in_client;
	enum pcu_intr_type	 in_type;
	uint32_t		 in_index;
	void			*in_cookie;
	/* with intr_enter */
	bool			 in_established, in_masked, in_held;
	bool			 in_can_disable, in_stormed;
	bool			 in_tells;	/* its status is asked */
	struct pcu_shim		*in_shim;
	uint32_t		 in_row, in_strays;	/* events, misses */
	uint32_t		 in_idle;	/* cu_idle, as it was seen */
	uint64_t		 in_unmasked_at;
	uint64_t		 in_total;
	/* with event_enter */
	TAILQ_ENTRY(pcu_intr)	 in_ready;
	uint64_t		 in_sequence;
	unsigned int		 in_first, in_waiting;
	struct pci4_event	 in_event[PCU_EVENTS];
};

/* That a map has pages [lo_start, lo_end) of memory loaded. */
struct pcu_load {
	LIST_ENTRY(pcu_load)	 lo_list;	/* of the memory's */
	struct pcu_mem		*lo_mem;
	uint64_t		 lo_start, lo_end;
	unsigned int		 lo_direction;
};

struct pcu_mem {
	struct pcu_obj		 me_obj;
	uint32_t		 me_device;
	char			 me_who[PCU_NAME], me_name[PCU_LABEL];
	uint64_t		 me_size;
	void			*me_port;
	uint64_t		 me_mmap;
	LIST_HEAD(, pcu_load)	 me_loads;
	uint32_t		 me_nloads[4];	/* by direction; [0]: all */
	uint32_t		 me_nsegs, me_maxsegs;
	struct pcu_seg		*me_seg;
	LIST_ENTRY(pcu_mem)	 me_kept;	/* of the function's */
};

struct pcu_map {
	struct pcu_obj		 ma_obj;
	uint32_t		 ma_device;
	char			 ma_who[PCU_NAME], ma_name[PCU_LABEL];
	uint64_t		 ma_size, ma_maxsegsz, ma_boundary;
	uint64_t		 ma_low, ma_high;
	uint32_t		 ma_nsegments;
	unsigned int		 ma_direction;	/* 0: not loaded */
	uint32_t		 ma_nsegs, ma_segcap;
	struct pcu_seg		*ma_seg, ma_oneseg;
	uint32_t		 ma_nloads, ma_loadcap;
	struct pcu_load		*ma_load, ma_oneload;
};

struct pcu_fault {
	uint64_t	fa_addr;
	bool		fa_write, fa_lost;
	char		fa_reason[64];
};

struct pcu_claim {
	struct pcu_obj		 cl_obj;
	struct pcu_func		*cl_func;
	struct pcu_client	*cl_client;
	char			 cl_who[PCU_NAME];
	struct pcu_conf		 cl_conf;
	struct pcu_reach	 cl_reach[PCU_BARS];
	struct pcu_range	 cl_msix;	/* pages of the table */
	unsigned int		 cl_msix_bar;
	unsigned int		 cl_nmsi, cl_nmsix;
	struct pcu_objs		 cl_windows, cl_mems, cl_maps;
	unsigned int		 cl_nwindows, cl_nmems, cl_nmaps;
	uint64_t		 cl_bytes;
	enum pcu_intr_type	 cl_intr_type;
	unsigned int		 cl_nintrs;
	struct pcu_intr		*cl_intr;	/* all of them, in order */
	void			**cl_cookie;	/* the port's, of each */
	bool			 cl_intr_gone;	/* the port has none any more */
	char			 cl_unit[PCU_NAME];
	unsigned int		 cl_nfaults, cl_firstfault;
	struct pcu_fault	 cl_fault[PCU_FAULTS];
};

struct pcu_func {
	TAILQ_ENTRY(pcu_func)	 fu_list;
	struct pcu		*fu_pcu;
	void			*fu_port;
	struct pcu_func_info	 fu_info;
	char			 fu_driver[PCU_NAME];
	struct pcu_claim	*fu_claim;
	bool			 fu_gone, fu_releasing;
	/* Freed memory that it may still write: it was not seen quiet. */
	LIST_HEAD(, pcu_mem)	 fu_kept;
	uint64_t		 fu_kept_bytes;
};

/* What a user has, over all its clients. */
struct pcu_account {
	LIST_ENTRY(pcu_account)	 ac_list;
	uint32_t		 ac_uid;
	uint32_t		 ac_clients, ac_claims, ac_objects;
	uint32_t		 ac_interrupts;
	uint64_t		 ac_bytes;
};

/* A listing that is being told: rows of one structure of the protocol. */
struct pcu_rows {
	uint32_t	 ro_op;		/* 0: none */
	uint32_t	 ro_count;
	size_t		 ro_each, ro_size;
	void		*ro_data;
};

struct pcu_client {
	LIST_ENTRY(pcu_client)	 cu_list;
	struct pcu		*cu_pcu;
	void			*cu_port;
	struct pcu_cred		 cu_cred;
	struct pcu_account	*cu_account;
	bool			 cu_greeted;
	uint32_t		 cu_last;	/* handle */
	struct pcu_objs		*cu_hash;
	uint32_t		 cu_nhash, cu_nobjs;
	struct pcu_objs		 cu_claims;
	struct pcu_rows		 cu_rows;
	uint64_t		 cu_mmap;	/* the next free offset */
	/* with event_enter */
	TAILQ_HEAD(, pcu_intr)	 cu_ready;
	uint32_t		 cu_idle;	/* times nothing was there */
};

struct pcu {
	const struct pci_user_ops *pc_ops;
	void			*pc_sc;
	TAILQ_HEAD(, pcu_func)	 pc_funcs;
	uint32_t		 pc_nfuncs;
	LIST_HEAD(, pcu_client)	 pc_clients;
	LIST_HEAD(, pcu_account) pc_accounts;
	uint64_t		 pc_features;
	char			 pc_url[512];
};

/* pci_user_core.c */
void	*pcu_alloc(struct pcu *, size_t);
void	 pcu_free(struct pcu *, void *, size_t);

/* pci_user_text.c: names and other texts. */
size_t	pcu_text_length(const char *, size_t);
bool	pcu_is_utf8(const char *, size_t);
bool	pcu_is_shown(const char *, size_t);
void	pcu_text_take(char *, const char *, size_t);
void	pcu_text_put(char *, size_t, const char *);
bool	pcu_texts_ok(uint32_t, const void *);

/* pci_user_handle.c: handles, and what each user has. */
int	pcu_handle_init(struct pcu_client *);
void	pcu_handle_fini(struct pcu_client *);
int	pcu_handle_new(struct pcu_client *, struct pcu_obj *, enum pcu_kind,
	    struct pcu_claim *);
void	pcu_handle_end(struct pcu_client *, struct pcu_obj *);
void	*pcu_handle_find(struct pcu_client *, uint32_t, enum pcu_kind, int *);
int	pcu_account_open(struct pcu *, const struct pcu_cred *,
	    struct pcu_account **);
void	pcu_account_close(struct pcu *, struct pcu_account *);
void	pcu_account_forget(struct pcu *, struct pcu_account *);
int	pcu_account_take(uint32_t *, uint32_t, uint32_t);

/* pci_user_conf.c */
void	pcu_conf_init(struct pcu_claim *);
int	pcu_conf_read(struct pcu_claim *, uint32_t, uint32_t *);
int	pcu_conf_write(struct pcu_claim *, uint32_t, uint32_t);
void	pcu_conf_restore(struct pcu_claim *);
void	pcu_conf_command(struct pcu_func *, uint32_t, uint32_t);
void	pcu_caps_find(struct pcu_func *, struct pcu_caps *);
uint32_t pcu_fn_read(struct pcu_func *, uint32_t);
void	pcu_fn_write(struct pcu_func *, uint32_t, uint32_t);

/* pci_user_claim.c */
struct pcu_func *pcu_func_find(struct pcu *, uint32_t);
bool	pcu_may_see(struct pcu_client *, const struct pcu_func *);
void	pcu_claim_release(struct pcu_claim *);
bool	pcu_is_bridge(const struct pcu_func *);
unsigned int pcu_msi_vectors(struct pcu_func *, const struct pcu_caps *);

/* pci_user_quiet.c: what a function is put through when its claim ends. */
bool	pcu_quiet(struct pcu_claim *);

/* pci_user_win.c */
void	pcu_window_end(struct pcu_window *);
void	pcu_windows_free(struct pcu_claim *);
uint64_t pcu_mmap_take(struct pcu_client *, uint64_t);

/* pci_user_intr.c, pci_user_establish.c, pci_user_fire.c: interrupts */
unsigned int pcu_intr_count(struct pcu_claim *, enum pcu_intr_type);
void	pcu_intr_stop(struct pcu_claim *);
void	pcu_intr_forget(struct pcu_claim *);
void	pcu_intr_free(struct pcu_claim *);
void	pcu_intr_disestablish(struct pcu_intr *);
bool	pcu_intr_asserts(struct pcu_intr *);
void	pcu_intr_look_idle(struct pcu_intr *);

/* pci_user_event.c */
void	pcu_event_post(struct pcu_intr *, uint64_t, const uint64_t *);
void	pcu_event_forget(struct pcu_intr *);

/* pci_user_mem.c, pci_user_map.c, pci_user_load.c: DMA */
void	pcu_dma_unref(struct pcu *, struct pcu_obj *);
bool	pcu_map_is_loaded(const struct pcu_map *);
int	pcu_map_take_back(struct pcu_map *);
int	pcu_map_grant(struct pcu_map *);
void	pcu_map_drop_segs(struct pcu *, struct pcu_map *);
void	pcu_map_drop_loads(struct pcu *, struct pcu_map *);
bool	pcu_has_iommu(const struct pcu *);
int	pcu_dma_quota(const struct pcu_claim *, uint64_t);
void	pcu_dma_end(struct pcu_claim *, bool);
void	pcu_dma_free(struct pcu_claim *);

/* pci_user_kept.c */
bool	pcu_segments_fit(const struct pcu_mem_spec *, const struct pcu_seg *,
	    uint32_t);
void	pcu_kept_add(struct pcu_func *, struct pcu_mem *);
int	pcu_kept_take(struct pcu_func *, const struct pcu_mem_spec *,
	    struct pcu_mem *);
void	pcu_kept_free(struct pcu_func *, bool);

/* pci_user_list.c, pci_user_page.c */
void	pcu_rows_free(struct pcu_client *);
int	pcu_rows_begin(struct pcu_client *, uint32_t, uint32_t, size_t);

/* The operations; their numbers are in pci_user_core.c. */
#define PCU_OP(name)	int pcu_op_##name(struct pcu_client *, void *)
PCU_OP(version); PCU_OP(list); PCU_OP(conf_read); PCU_OP(conf_write);
PCU_OP(claim); PCU_OP(release); PCU_OP(claim_list);
PCU_OP(window_map); PCU_OP(window_unmap); PCU_OP(window_read);
PCU_OP(window_write); PCU_OP(window_batch); PCU_OP(window_access);
PCU_OP(window_present); PCU_OP(window_barrier);
PCU_OP(intr_count); PCU_OP(intr_alloc); PCU_OP(intr_establish);
PCU_OP(intr_control); PCU_OP(intr_release); PCU_OP(intr_list);
PCU_OP(dma_alloc); PCU_OP(dma_free); PCU_OP(dmamap_create);
PCU_OP(dmamap_load); PCU_OP(dmamap_load_piece); PCU_OP(dmamap_unload);
PCU_OP(dmamap_destroy); PCU_OP(dma_faults); PCU_OP(dma_page);
PCU_OP(dma_usage); PCU_OP(dma_check); PCU_OP(iommu_page);

#endif /* !_DEV_PCI_PCI_USER_VAR_H_ */
