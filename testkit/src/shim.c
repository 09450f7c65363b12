/* Makes calls on files below $SHIM_ROOT fail, for tests of what the program does about it.
 *
 * $SHIM_RULES has a line for each rule: CALL WHERE WHAT SKIP COUNT PERIOD
 *   CALL    write, read (also at an offset), fsync (of a file), dirsync (fsync of a folder) or sync (fsync of either)
 *   WHERE   a text that must occur in the file's path below the root, or * for every file
 *   WHAT    the number of an error, flip (a bit of the data) or kill (this process, with SIGKILL)
 *   SKIP    that many matching calls pass first
 *   COUNT   then so many are hit, of every PERIOD calls (0: once only; COUNT -1: all of them)
 * A line is appended to $SHIM_LOG for each hit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct rule {
    char call[16], where[64], what[16];
    long skip, count, period;
    atomic_long seen;
};

static struct rule rules[8];
static int rule_count;
static char root[PATH_MAX];
static char log_path[PATH_MAX];

__attribute__((constructor)) static void load(void) {
    const char *given = getenv("SHIM_ROOT"), *text = getenv("SHIM_RULES"), *log = getenv("SHIM_LOG");
    if (given == NULL || text == NULL || log == NULL || realpath(given, root) == NULL)
        return;
    snprintf(log_path, sizeof log_path, "%s", log);
    while (rule_count < 8 && *text != 0) {
        struct rule *rule = &rules[rule_count];
        if (sscanf(text, "%15s %63s %15s %ld %ld %ld", rule->call, rule->where, rule->what, &rule->skip,
                   &rule->count, &rule->period) != 6)
            abort();
        rule_count++;
        text += strcspn(text, "\n");
        text += strspn(text, "\n");
    }
}

static void note(const struct rule *rule, const char *call, const char *path) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s %s\n", call, rule->what, path);
    int fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

/* The rule that hits this call, if one does. */
static const struct rule *hit(const char *call, int fd) {
    if (rule_count == 0)
        return NULL;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t root_length = strlen(root);
    if (length < 0)
        return NULL;
    path[length] = 0;
    if (strncmp(path, root, root_length) != 0)
        return NULL;
    for (int i = 0; i < rule_count; i++) {
        struct rule *rule = &rules[i];
        if (strcmp(rule->call, call) != 0 && (strcmp(rule->call, "sync") != 0 || strstr(call, "sync") == NULL))
            continue;
        if (strcmp(rule->where, "*") != 0 && strstr(path + root_length, rule->where) == NULL)
            continue;
        long n = atomic_fetch_add(&rule->seen, 1) - rule->skip;
        if (n < 0 || (rule->count >= 0 && (rule->period > 0 ? n % rule->period : n) >= rule->count))
            continue;
        note(rule, call, path + root_length);
        if (strcmp(rule->what, "kill") == 0)
            kill(getpid(), SIGKILL);
        return rule;
    }
    return NULL;
}

static int fails(const struct rule *rule) {
    if (rule == NULL || strcmp(rule->what, "flip") == 0)
        return 0;
    errno = atoi(rule->what);
    return 1;
}

ssize_t write(int fd, const void *data, size_t length) {
    const struct rule *rule = hit("write", fd);
    if (fails(rule))
        return -1;
    if (rule != NULL && length > 0) {
        char *copy = malloc(length);
        memcpy(copy, data, length);
        copy[length / 2] ^= 1;
        ssize_t written = syscall(SYS_write, fd, copy, length);
        int error = errno;
        free(copy);
        errno = error;
        return written;
    }
    return syscall(SYS_write, fd, data, length);
}

ssize_t read(int fd, void *data, size_t length) {
    const struct rule *rule = hit("read", fd);
    if (fails(rule))
        return -1;
    ssize_t count = syscall(SYS_read, fd, data, length);
    if (rule != NULL && count > 0)
        ((char *)data)[count / 2] ^= 1;
    return count;
}

int fsync(int fd) {
    struct stat status;
    int folder = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    return fails(hit(folder ? "dirsync" : "fsync", fd)) ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset) {
    const struct rule *rule = hit("read", fd);
    if (fails(rule))
        return -1;
    ssize_t count = syscall(SYS_pread64, fd, data, length, offset);
    if (rule != NULL && count > 0)
        ((char *)data)[count / 2] ^= 1;
    return count;
}
