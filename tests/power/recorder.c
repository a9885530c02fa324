/* Records what a process writes, truncates, renames, removes and syncs below one directory, in order.

   Preloaded (LD_PRELOAD) with RECORDER_ROOT, the directory, and RECORDER_LOG, the file that the records are appended to.
   A record is a header of fixed size, then `path_size` bytes of a path relative to the root, then `data_size` bytes: the
   data of a write, or the new path of a rename.  tests/power/recording.py reads them.

   Writes are carried out and recorded under one lock, so the records are in the order in which the kernel had them.  A
   sync is recorded twice, before and after, without the lock: only what was written before its beginning is safe at its
   end. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, WRITE_THROUGH, TRUNCATE, SYNC_BEGIN, SYNC_END, CREATE, RENAME, UNLINK, MKDIR };
#define FDS 4096

struct header {
    uint32_t kind, path_size;
    uint64_t offset, data_size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_size;
static int log_fd = -1;
static struct { char *path; int through; } files[FDS];

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_truncate)(const char *, off_t);
static int (*real_fallocate)(int, off_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static void __attribute__((constructor)) begin(void) {
    real_openat = next("openat");
    real_close = next("close");
    real_write = next("write");
    real_pwrite = next("pwrite");
    real_writev = next("writev");
    real_pwritev = next("pwritev");
    real_ftruncate = next("ftruncate");
    real_truncate = next("truncate");
    real_fallocate = next("posix_fallocate");
    real_fsync = next("fsync");
    real_fdatasync = next("fdatasync");
    real_rename = next("rename");
    real_unlink = next("unlink");
    real_mkdir = next("mkdir");
    const char *where = getenv("RECORDER_ROOT"), *log = getenv("RECORDER_LOG");
    if (where && log && realpath(where, root)) {
        root_size = strlen(root);
        log_fd = real_openat(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
}

/* The path below the root, "" for the root itself, or NULL for what is not ours. */
static const char *ours(const char *path) {
    if (log_fd < 0 || path == NULL || strncmp(path, root, root_size) != 0) return NULL;
    if (path[root_size] == 0) return path + root_size;
    return path[root_size] == '/' ? path + root_size + 1 : NULL;
}

static const char *path_of(int fd) { return fd >= 0 && fd < FDS ? files[fd].path : NULL; }

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        ssize_t done = real_write(log_fd, at, size);
        if (done < 0) abort();
        at += done;
        size -= done;
    }
}

static void record(int kind, const char *path, off_t offset, const struct iovec *parts, int count, size_t size) {
    struct header head = {kind, strlen(path), offset, size};
    put(&head, sizeof head);
    put(path, head.path_size);
    for (int i = 0; i < count && size > 0; i++) {
        size_t some = parts[i].iov_len < size ? parts[i].iov_len : size;
        put(parts[i].iov_base, some);
        size -= some;
    }
}

static void note(int kind, const char *path, off_t offset) { record(kind, path, offset, NULL, 0, 0); }

static void record_write(int fd, off_t offset, const struct iovec *parts, int count, ssize_t done) {
    if (done > 0) record(files[fd].through ? WRITE_THROUGH : WRITE, files[fd].path, offset, parts, count, done);
}

static int do_open(int at, const char *path, int flags, mode_t mode) {
    char full[3 * PATH_MAX];
    const char *name = NULL;
    if (at == AT_FDCWD || (path && path[0] == '/')) {
        name = ours(path);
    } else if (path_of(at) != NULL) {
        snprintf(full, sizeof full, "%s/%s/%s", root, path_of(at), path);
        name = ours(full);
    }
    if (name == NULL) return real_openat(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    int there = access(path, F_OK) == 0;
    int fd = real_openat(at, path, flags, mode);
    if (fd >= FDS) abort();
    if (fd >= 0) {
        free(files[fd].path);
        files[fd].path = strdup(name);
        files[fd].through = (flags & (O_DSYNC | O_SYNC)) != 0;
        if (!there && (flags & O_CREAT)) note(CREATE, name, 0);
        if (there && (flags & O_TRUNC)) note(TRUNCATE, name, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return do_open(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return do_open(at, path, flags, mode); }

int close(int fd) {
    if (path_of(fd) != NULL) {
        pthread_mutex_lock(&lock);
        free(files[fd].path);
        files[fd].path = NULL;
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (path_of(fd) == NULL) return real_write(fd, data, size);
    struct iovec part = {(void *)data, size};
    pthread_mutex_lock(&lock);
    ssize_t done = real_write(fd, data, size);
    record_write(fd, lseek(fd, 0, SEEK_CUR) - (done > 0 ? done : 0), &part, 1, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (path_of(fd) == NULL) return real_writev(fd, parts, count);
    pthread_mutex_lock(&lock);
    ssize_t done = real_writev(fd, parts, count);
    record_write(fd, lseek(fd, 0, SEEK_CUR) - (done > 0 ? done : 0), parts, count, done);
    pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t do_pwrite(int fd, const void *data, size_t size, off_t offset) {
    if (path_of(fd) == NULL) return real_pwrite(fd, data, size, offset);
    struct iovec part = {(void *)data, size};
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwrite(fd, data, size, offset);
    record_write(fd, offset, &part, 1, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return do_pwrite(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return do_pwrite(fd, data, size, offset); }

static ssize_t do_pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (path_of(fd) == NULL) return real_pwritev(fd, parts, count, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwritev(fd, parts, count, offset);
    record_write(fd, offset, parts, count, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return do_pwritev(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return do_pwritev(fd, parts, count, offset); }

static int do_ftruncate(int fd, off_t size) {
    if (path_of(fd) == NULL) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int result = real_ftruncate(fd, size);
    if (result == 0) note(TRUNCATE, files[fd].path, size);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t size) { return do_ftruncate(fd, size); }
int ftruncate64(int fd, off_t size) { return do_ftruncate(fd, size); }

static int do_truncate(const char *path, off_t size) {
    pthread_mutex_lock(&lock);
    int result = real_truncate(path, size);
    if (result == 0 && ours(path) != NULL) note(TRUNCATE, ours(path), size);
    pthread_mutex_unlock(&lock);
    return result;
}
int truncate(const char *path, off_t size) { return do_truncate(path, size); }
int truncate64(const char *path, off_t size) { return do_truncate(path, size); }

/* Space alone: it shows as zeros once something is written behind it, so only the size is recorded. */
static int do_fallocate(int fd, off_t offset, off_t size) {
    if (path_of(fd) == NULL) return real_fallocate(fd, offset, size);
    pthread_mutex_lock(&lock);
    struct stat before;
    fstat(fd, &before);
    int result = real_fallocate(fd, offset, size);
    if (result == 0 && offset + size > before.st_size) note(TRUNCATE, files[fd].path, offset + size);
    pthread_mutex_unlock(&lock);
    return result;
}
int posix_fallocate(int fd, off_t offset, off_t size) { return do_fallocate(fd, offset, size); }
int posix_fallocate64(int fd, off_t offset, off_t size) { return do_fallocate(fd, offset, size); }

static int do_sync(int fd, int (*sync)(int)) {
    if (path_of(fd) == NULL) return sync(fd);
    static uint64_t syncs;
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    uint64_t number = ++syncs;
    strncpy(path, files[fd].path, sizeof path - 1);
    path[sizeof path - 1] = 0;
    note(SYNC_BEGIN, path, number);
    pthread_mutex_unlock(&lock);
    int result = sync(fd);
    pthread_mutex_lock(&lock);
    if (result == 0) note(SYNC_END, path, number);
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) { return do_sync(fd, real_fsync); }
int fdatasync(int fd) { return do_sync(fd, real_fdatasync); }

int rename(const char *old, const char *new) {
    const char *from = ours(old), *to = ours(new);
    pthread_mutex_lock(&lock);
    int result = real_rename(old, new);
    if (result == 0 && from != NULL && to != NULL) {
        struct iovec part = {(void *)to, strlen(to)};
        record(RENAME, from, 0, &part, 1, part.iov_len);
        for (int fd = 0; fd < FDS; fd++) {
            if (files[fd].path == NULL || strcmp(files[fd].path, from) != 0) continue;
            free(files[fd].path);
            files[fd].path = strdup(to);
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = real_unlink(path);
    if (result == 0 && ours(path) != NULL) note(UNLINK, ours(path), 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&lock);
    int result = real_mkdir(path, mode);
    if (result == 0 && ours(path) != NULL) note(MKDIR, ours(path), 0);
    pthread_mutex_unlock(&lock);
    return result;
}
