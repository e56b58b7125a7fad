/* Loaded before libc (LD_PRELOAD): one in LATE_ONE_IN calls by which processes and threads meet begins or returns up to LATE_MS late. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t setting(const char *name) {
    const char *text = getenv(name);
    return text && atoll(text) > 0 ? (uint64_t)atoll(text) : 40;
}

/* xorshift64 (Marsaglia, 2003), seeded by thread and time: no two runs are late at the same calls. */
static uint64_t chance(void) {
    static __thread uint64_t state;
    if (!state) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        state = ((uint64_t)syscall(SYS_gettid) << 32) ^ (uint64_t)now.tv_nsec ^ 88172645463325252u;
    }
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void late(uint64_t rarer) {
    int before = errno;
    if (chance() % (setting("LATE_ONE_IN") * rarer) == 0) {
        uint64_t ns = chance() % (setting("LATE_MS") * 1000000);
        struct timespec nap = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
        syscall(SYS_nanosleep, &nap, NULL);
    }
    errno = before;
}

#define CALL(rarer, type, name, given, passed)                                                                                  \
    type name given {                                                                                                           \
        static __typeof__(name) *real;                                                                                          \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                                                              \
        late(rarer);                                                                                                            \
        type result = real passed;                                                                                              \
        late(rarer);                                                                                                            \
        return result;                                                                                                          \
    }

CALL(1, int, bind, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
CALL(1, int, listen, (int a, int b), (a, b))
CALL(1, int, connect, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
CALL(1, int, accept4, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))
CALL(1, ssize_t, send, (int a, const void *b, size_t c, int d), (a, b, c, d))
CALL(1, ssize_t, sendmsg, (int a, const struct msghdr *b, int c), (a, b, c))
CALL(1, ssize_t, recv, (int a, void *b, size_t c, int d), (a, b, c, d))
CALL(1, ssize_t, recvmsg, (int a, struct msghdr *b, int c), (a, b, c))
CALL(1, int, rename, (const char *a, const char *b), (a, b))
CALL(1, int, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
CALL(1, int, link, (const char *a, const char *b), (a, b))
CALL(1, int, unlink, (const char *a), (a))
CALL(1, int, unlinkat, (int a, const char *b, int c), (a, b, c))
CALL(1, int, mkdir, (const char *a, mode_t b), (a, b))
CALL(1, int, rmdir, (const char *a), (a))
CALL(1, DIR *, opendir, (const char *a), (a))
CALL(1, int, lstat, (const char *restrict a, struct stat *restrict b), (a, b))
CALL(1, ssize_t, readlink, (const char *a, char *b, size_t c), (a, b, c))
CALL(1, int, fsync, (int a), (a))
CALL(1, int, fdatasync, (int a), (a))
CALL(1, int, ftruncate, (int a, off_t b), (a, b))
CALL(1, int, flock, (int a, int b), (a, b))
CALL(1, int, pipe2, (int a[2], int b), (a, b))
CALL(1, int, poll, (struct pollfd *a, nfds_t b, int c), (a, b, c))
CALL(1, int, epoll_wait, (int a, struct epoll_event *b, int c, int d), (a, b, c, d))
CALL(1, pid_t, fork, (void), ())
CALL(1, int, execve, (const char *a, char *const *b, char *const *c), (a, b, c))
CALL(1, int, kill, (pid_t a, int b), (a, b))
CALL(1, pid_t, waitpid, (pid_t a, int *b, int c), (a, b, c))
CALL(1, pid_t, wait4, (pid_t a, int *b, int c, struct rusage *d), (a, b, c, d))
CALL(10, ssize_t, read, (int a, void *b, size_t c), (a, b, c)) /* of these there are many more */
CALL(10, ssize_t, write, (int a, const void *b, size_t c), (a, b, c))
CALL(10, int, close, (int a), (a))
