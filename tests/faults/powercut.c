/* Which bytes of an append-only file would survive a power cut? Preloaded into a server (LD_PRELOAD), this notes after
 * each fsync and fdatasync of a file NAME.aof the size it had before the call, as decimal text in NAME.aof.synced.
 * What was written while the call ran may or may not be on disk, so it does not count. servers.py cuts to that size. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void note(int file, off_t size) {
    char link[64], path[PATH_MAX], text[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - sizeof ".synced");
    if (length < 4 || memcmp(path + length - 4, ".aof", 4) != 0) return;
    strcpy(path + length, ".synced");
    int beside = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (beside < 0) return;
    /* One write of fixed width: a kill leaves the old size or the new one. */
    int width = snprintf(text, sizeof text, "%020lld", (long long)size);
    if (pwrite(beside, text, width, 0) != width) unlink(path);
    close(beside);
}

static int sync_and_note(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(file, &before) == 0;
    int result = real(file);
    if (result == 0 && known) note(file, before.st_size);
    return result;
}

int fsync(int file) { return sync_and_note("fsync", file); }
int fdatasync(int file) { return sync_and_note("fdatasync", file); }
