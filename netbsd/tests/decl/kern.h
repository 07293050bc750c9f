/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* Types, errno(2), memory, locks, time, credentials, messages. */

#ifndef DECL_KERN_H
#define DECL_KERN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define __NetBSD_Version__	DECL_VERSION
#define __NetBSD_Prereq__(major, minor, patch)				\
	(DECL_VERSION >= (major) * 100000000 + (minor) * 1000000 + (patch) * 100)
#if defined(__LP64__) && !defined(_LP64)
#define _LP64	1
#endif

typedef unsigned int	u_int;
typedef unsigned long	u_long;
typedef long		ssize_t;
typedef int64_t		off_t;
typedef uint64_t	dev_t;
typedef int		devmajor_t;
typedef uint32_t	uid_t, gid_t, mode_t;
typedef int		pid_t;
typedef unsigned long	vaddr_t, vsize_t, paddr_t, psize_t;

#define minor(dev)	((int)((dev) & 0xff))
#define NODEVMAJOR	(-1)

/* errno(2): that they differ is all that matters. */
enum {
	EPERM = 1, ENOENT, ESRCH, EINTR, EIO, ENXIO, E2BIG, EBADF, EAGAIN,
	ENOMEM, EACCES, EFAULT, EBUSY, EEXIST, ENODEV, EINVAL, ENFILE, EMFILE,
	ENOTTY, EFBIG, ENOSPC, ERANGE, EOPNOTSUPP, ERESTART = -3, EMOVEFD = -6
};

#define PAGE_SIZE	4096UL
#define PAGE_MASK	(PAGE_SIZE - 1)
#define round_page(x)	(((x) + PAGE_MASK) & ~PAGE_MASK)
#define trunc_page(x)	((x) & ~PAGE_MASK)
#define roundup2(x, step)	(((x) + (step) - 1) & ~((step) - 1))
#define ctob(pages)	((pages) * PAGE_SIZE)
#define __arraycount(a)	(sizeof(a) / sizeof((a)[0]))
#define __unused	__attribute__((__unused__))
#define __predict_false(x)	(x)
#define KASSERT(x)	((void)sizeof(x))

void	*memset(void *, int, size_t);
void	*memcpy(void *, const void *, size_t);
int	 memcmp(const void *, const void *, size_t);
size_t	 strlen(const char *);
size_t	 strlcpy(char *, const char *, size_t);
int	 strcmp(const char *, const char *);
int	 snprintf(char *, size_t, const char *, ...)
	    __attribute__((__format__(__printf__, 3, 4)));
int	 copyout(const void *, void *, size_t);

/* kmem(9) */
enum { KM_SLEEP = 1, KM_NOSLEEP = 2 };
void	*kmem_alloc(size_t, int);
void	*kmem_zalloc(size_t, int);
void	 kmem_free(void *, size_t);

/* mutex(9), condvar(9), rwlock(9), kpause(9), RUN_ONCE(9) */
typedef struct { int decl; } kmutex_t;
typedef struct { int decl; } kcondvar_t;
typedef struct { int decl; } krwlock_t;
typedef enum { MUTEX_DEFAULT } kmutex_type_t;
typedef enum { RW_READER, RW_WRITER } krw_t;
enum { IPL_NONE, IPL_VM, IPL_HIGH };
void	mutex_init(kmutex_t *, kmutex_type_t, int);
void	mutex_destroy(kmutex_t *);
void	mutex_enter(kmutex_t *);
void	mutex_exit(kmutex_t *);
int	mutex_owned(kmutex_t *);
void	cv_init(kcondvar_t *, const char *);
void	cv_destroy(kcondvar_t *);
void	cv_broadcast(kcondvar_t *);
int	cv_wait_sig(kcondvar_t *, kmutex_t *);
void	rw_enter(krwlock_t *, krw_t);
void	rw_exit(krwlock_t *);
int	kpause(const char *, bool, int, kmutex_t *);
int	mstohz(int);
void	KERNEL_LOCK(int, void *);
void	KERNEL_UNLOCK_ONE(void *);
typedef struct { int decl; } once_t;
#define ONCE_DECL(name)	once_t name
int	RUN_ONCE(once_t *, int (*)(void));

/* softint(9) */
enum { SOFTINT_SERIAL = 1, SOFTINT_MPSAFE = 2 };
void	*softint_establish(u_int, void (*)(void *), void *);
void	 softint_disestablish(void *);
void	 softint_schedule(void *);

/* time(9), log(9), ratecheck(9) */
struct timeval { int64_t tv_sec; int tv_usec; };
struct timespec { int64_t tv_sec; long tv_nsec; };
enum { LOG_WARNING = 4 };
void	nanouptime(struct timespec *);
int	ppsratecheck(struct timeval *, int *, int);
void	log(int, const char *, ...)
	    __attribute__((__format__(__printf__, 2, 3)));

/* xcall(9) */
typedef void (*xcfunc_t)(void *, void *);
uint64_t xc_broadcast(unsigned int, xcfunc_t, void *, void *);
void	xc_wait(uint64_t);

/* kauth(9), and the processes that have credentials */
typedef struct decl_cred *kauth_cred_t;
enum { KAUTH_GENERIC_ISSUSER = 1, KAUTH_MACHDEP_UNMANAGEDMEM = 1 };
uid_t	kauth_cred_geteuid(kauth_cred_t);
gid_t	kauth_cred_getegid(kauth_cred_t);
void	kauth_cred_hold(kauth_cred_t);
void	kauth_cred_free(kauth_cred_t);
int	kauth_authorize_generic(kauth_cred_t, int, void *);
int	kauth_authorize_machdep(kauth_cred_t, int, void *, void *, void *,
	    void *);
struct proc {
	pid_t		p_pid;
};
extern psize_t physmem;		/* in pages */
struct lwp {
	struct proc	*l_proc;
	kauth_cred_t	 l_cred;
};
extern struct lwp lwp0, *curlwp;

/* module(9) */
typedef enum { MODULE_CMD_INIT, MODULE_CMD_FINI, MODULE_CMD_STAT } modcmd_t;
typedef enum { MODULE_CLASS_DRIVER } modclass_t;
#define MODULE(class, name, needs)					\
	static int name##_modcmd(modcmd_t, void *);			\
	int (*const decl_module_##name)(modcmd_t, void *) = name##_modcmd
#ifdef DECL_MODULE
#define _MODULE	1
#endif

#endif
