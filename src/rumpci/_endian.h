/* le32toh(3) and its like, where this system has them. */
#ifdef __linux__
#include <endian.h>
#else
#include <sys/endian.h>
#endif
