/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* Open files, and the device switch. */

#ifndef DECL_FILE_H
#define DECL_FILE_H

struct uvm_object;
struct knote;

/* ioctl(2) */
#define IOC_INOUT	0xc0000000UL
#define IOC_DIRMASK	0xe0000000UL
#define IOCPARM_LEN(x)	(((x) >> 16) & 0x1fff)
#define IOCGROUP(x)	((int)(((x) >> 8) & 0xff))
#define _IOWR(group, number, type)					\
	(IOC_INOUT | sizeof(type) << 16 | (unsigned long)(group) << 8 | (number))
#define FIONBIO		0x8004667eUL

/* open(2), poll(2), mmap(2), stat(2) */
#define FREAD		1
#define FWRITE		2
#define FNONBLOCK	4
#define POLLIN		0x01
#define POLLRDNORM	0x40
#define PROT_READ	1
#define PROT_WRITE	2
#define PROT_EXEC	4
#define MAP_SHARED	1
#define MAP_PRIVATE	2
#define S_IFCHR		0020000
#define S_IRUSR		0400
#define S_IWUSR		0200
struct stat {
	mode_t	st_mode;
	dev_t	st_rdev;
	uid_t	st_uid;
	gid_t	st_gid;
};

/* uiomove(9) */
struct uio {
	size_t	uio_resid;
};
int	uiomove(void *, size_t, struct uio *);

/* selrecord(9), kqueue(2), knote(9) */
#define NOTE_SUBMIT	0x01000000
#define EVFILT_READ	0
struct klist { struct knote *first; };
struct selinfo {
	struct klist	sel_klist;
};
struct filterops {
#if !__NetBSD_Prereq__(9,0,0)
	int	  f_isfd;
#else
#define FILTEROP_ISFD	1
#define FILTEROP_MPSAFE	2
	int	  f_flags;
#endif
	int	(*f_attach)(struct knote *);
	void	(*f_detach)(struct knote *);
	int	(*f_event)(struct knote *, long);
};
struct knote {
	struct { struct knote *next; } kn_selnext;
	const struct filterops *kn_fop;
	void	*kn_hook;
	int64_t	 kn_data;
	uint32_t kn_filter;
};
void	selinit(struct selinfo *);
void	seldestroy(struct selinfo *);
void	selrecord(struct lwp *, struct selinfo *);
void	selnotify(struct selinfo *, int, long);
#if __NetBSD_Prereq__(9,99,77)
void	selrecord_knote(struct selinfo *, struct knote *);
bool	selremove_knote(struct selinfo *, struct knote *);
#endif

/* file(9), filedesc(9) */
struct file;
struct fileops {
#if __NetBSD_Prereq__(8,0,0)
	const char *fo_name;
#endif
	int	(*fo_read)(struct file *, off_t *, struct uio *, kauth_cred_t,
		    int);
	int	(*fo_write)(struct file *, off_t *, struct uio *, kauth_cred_t,
		    int);
	int	(*fo_ioctl)(struct file *, u_long, void *);
	int	(*fo_fcntl)(struct file *, u_int, void *);
	int	(*fo_poll)(struct file *, int);
	int	(*fo_stat)(struct file *, struct stat *);
	int	(*fo_close)(struct file *);
	int	(*fo_kqfilter)(struct file *, struct knote *);
	void	(*fo_restart)(struct file *);
	int	(*fo_mmap)(struct file *, off_t *, size_t, int, int *, int *,
		    struct uvm_object **, int *);
};
struct file {
	const struct fileops *f_ops;
	int	 f_flag;
	void	*f_data;
};
int	fd_allocfile(struct file **, int *);
void	fd_abort(struct proc *, struct file *, int);
int	fd_clone(struct file *, int, int, const struct fileops *, void *);
int	fnullop_fcntl(struct file *, u_int, void *);

/* driver(9), devsw(9) */
struct tty;
struct bdevsw;
struct cdevsw {
	int	(*d_open)(dev_t, int, int, struct lwp *);
	int	(*d_close)(dev_t, int, int, struct lwp *);
	int	(*d_read)(dev_t, struct uio *, int);
	int	(*d_write)(dev_t, struct uio *, int);
	int	(*d_ioctl)(dev_t, u_long, void *, int, struct lwp *);
	void	(*d_stop)(struct tty *, int);
	struct tty *(*d_tty)(dev_t);
	int	(*d_poll)(dev_t, int, struct lwp *);
	paddr_t	(*d_mmap)(dev_t, off_t, int);
	int	(*d_kqfilter)(dev_t, struct knote *);
	int	(*d_discard)(dev_t, off_t, off_t);
	int	  d_flag;
};
enum { D_OTHER = 0, D_MPSAFE = 0x10000 };
int	nullclose(dev_t, int, int, struct lwp *);
int	noread(dev_t, struct uio *, int);
int	nowrite(dev_t, struct uio *, int);
int	noioctl(dev_t, u_long, void *, int, struct lwp *);
void	nostop(struct tty *, int);
struct tty *notty(dev_t);
int	nopoll(dev_t, int, struct lwp *);
int	nokqfilter(dev_t, struct knote *);
int	nodiscard(dev_t, off_t, off_t);
int	cdev_ioctl(dev_t, u_long, void *, int, struct lwp *);
int	devsw_attach(const char *, const struct bdevsw *, devmajor_t *,
	    const struct cdevsw *, devmajor_t *);
#if !__NetBSD_Prereq__(9,99,93)
int	devsw_detach(const struct bdevsw *, const struct cdevsw *);
#else
void	devsw_detach(const struct bdevsw *, const struct cdevsw *);
#endif

#endif
