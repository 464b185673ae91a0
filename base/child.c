#include "base/child.h"

#include "base/capture.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

extern char **environ;

#define WORDS_MOST 512                                /* of a child's last words, in an error */
#define GRACE_AFTER_KILL (2 * NANOSECONDS_PER_SECOND) /* then the child is stuck in the kernel */
#define FIRST_FREE (STDERR_FILENO + 1)
#define ASK_EVERY 10      /* milliseconds: whether a child has ended */
#define CHILDREN_MOST 256 /* running or stuck at one time */

/* All children that have not been reaped, so that they can be killed at the end and stuck ones reaped later. */
static struct {
    pthread_mutex_t mutex;
    pid_t running[CHILDREN_MOST];
    pid_t kept[CHILDREN_MOST]; /* running, too, but not killed at the end */
    pid_t stuck[CHILDREN_MOST];
    bool stopping;
} children = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool replace_first(pid_t *pids, pid_t old, pid_t new)
{
    for (size_t i = 0; i < CHILDREN_MOST; i++)
        if (pids[i] == old) {
            pids[i] = new;
            return true;
        }
    return false;
}

static void reap_stuck(void)
{
    for (size_t i = 0; i < CHILDREN_MOST; i++)
        if (children.stuck[i] != 0 && waitpid(children.stuck[i], NULL, WNOHANG) != 0)
            children.stuck[i] = 0;
}

/* Called with the mutex. */
static void forget(pid_t pid)
{
    if (!replace_first(children.running, pid, 0))
        replace_first(children.kept, pid, 0);
}

static void abandon(pid_t pid)
{
    pthread_mutex_lock(&children.mutex);
    forget(pid);
    replace_first(children.stuck, 0, pid);
    pthread_mutex_unlock(&children.mutex);
}

static void reaped(pid_t pid)
{
    pthread_mutex_lock(&children.mutex);
    forget(pid);
    pthread_mutex_unlock(&children.mutex);
}

void child_stop_all(void)
{
    pthread_mutex_lock(&children.mutex);
    children.stopping = true;
    for (size_t i = 0; i < CHILDREN_MOST; i++)
        if (children.running[i] != 0)
            kill(-children.running[i], SIGKILL);
    pthread_mutex_unlock(&children.mutex);
}

static bool is_named(const char *variable, const char *const *variables)
{
    for (; *variables != NULL; variables++)
        if (strncmp(variable, *variables, strcspn(*variables, "=") + 1) == 0)
            return true;
    return false;
}

/* Our environment with other variables besides; the caller frees the list. */
static char **environment_with(const char *const *variables)
{
    size_t ours = 0, more = 0, used = 0;
    while (environ[ours] != NULL)
        ours++;
    while (variables[more] != NULL)
        more++;
    char **list = calloc(ours + more + 1, sizeof *list);
    if (list == NULL)
        abort();
    for (size_t i = 0; i < more; i++)
        list[used++] = (char *)variables[i];
    for (size_t i = 0; i < ours; i++)
        if (!is_named(environ[i], variables))
            list[used++] = environ[i];
    return list;
}

static int spawn(pid_t *pid, const char *const argv[], const struct child_options *options, int output, int words)
{
    int inherit = options->inherit;
    cleanup_free char **environment = options->variables != NULL ? environment_with(options->variables) : NULL;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (options->keep) /* ignored, as by us: it may print when we, who read it, are gone */
        sigdelset(&all, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    /* gRPC and we block or ignore signals that a child must have as they were (posix_spawn(3)). */
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, words, STDERR_FILENO);
    if (inherit >= 0) /* clears close-on-exec, for the child alone */
        posix_spawn_file_actions_adddup2(&actions, inherit, FIRST_FREE);
    /* Libraries open descriptors that are not close-on-exec (libdevmapper its control device). */
    posix_spawn_file_actions_addclosefrom_np(&actions, inherit >= 0 ? FIRST_FREE + 1 : FIRST_FREE);
    int number = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv,
                              environment != NULL ? environment : environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return number;
}

static bool start(pid_t *pid, const char *const argv[], const struct child_options *options, int output, int words,
                  struct error *error)
{
    pthread_mutex_lock(&children.mutex);
    reap_stuck();
    pid_t *list = options->keep ? children.kept : children.running;
    bool room = !children.stopping && replace_first(list, 0, -1);
    bool stopping = children.stopping;
    int number = room ? spawn(pid, argv, options, output, words) : 0;
    if (room)
        replace_first(list, -1, number == 0 ? *pid : 0);
    pthread_mutex_unlock(&children.mutex);

    if (stopping)
        return fail(error, UNAVAILABLE, "cannot run %s: the driver is shutting down; try again", argv[0]);
    if (!room)
        return fail(error, RESOURCE_EXHAUSTED, "cannot run %s: %d child processes are running", argv[0], CHILDREN_MOST);
    if (number == ENOENT)
        return fail(error, FAILED_PRECONDITION, "cannot run %s: it is not installed on this node", argv[0]);
    return number == 0 || fail_errno(error, number, "cannot run %s", argv[0]);
}

static int milliseconds_until(int64_t deadline)
{
    if (deadline == NO_DEADLINE)
        return -1;
    int64_t left = (deadline - monotonic_now()) / NANOSECONDS_PER_MILLISECOND + 1;
    return left <= 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static bool has_ended(pid_t pid)
{
    siginfo_t state = {.si_pid = 0};
    return waitid(P_PID, (id_t)pid, &state, WEXITED | WNOHANG | WNOWAIT) == 0 && state.si_pid == pid;
}

/* A pidfd wakes us; without one (none was left, or a filter of system calls refuses it) we ask now and then. */
static int patience(int pidfd, int64_t deadline)
{
    int left = milliseconds_until(deadline);
    return pidfd < 0 && (left < 0 || left > ASK_EVERY) ? ASK_EVERY : left;
}

/* Reads both pipes until the child has ended.  False: the deadline passed first. */
static bool watch(pid_t pid, int pidfd, struct capture *output, struct capture *words, int64_t deadline)
{
    for (;;) {
        bool ended = pidfd < 0 && has_ended(pid);
        struct pollfd polled[] = {{.fd = pidfd, .events = POLLIN},
                                  {.fd = output->descriptor, .events = POLLIN},
                                  {.fd = words->descriptor, .events = POLLIN}};
        int count = poll(polled, 3, ended ? 0 : patience(pidfd, deadline));
        if (count < 0 && errno != EINTR)
            return false;
        if (count > 0 && polled[1].revents != 0)
            capture_read(output);
        if (count > 0 && polled[2].revents != 0)
            capture_read(words);
        /* A grandchild may hold the pipes open for ever: the child's own end is what counts, once they are empty. */
        ended = ended || (count > 0 && polled[0].revents != 0);
        if (ended && count >= 0 && polled[1].revents == 0 && polled[2].revents == 0)
            return true;
        if (monotonic_now() >= deadline)
            return false;
    }
}

static bool kill_stuck(pid_t pid, int pidfd)
{
    struct pollfd polled = {.fd = pidfd, .events = POLLIN};
    int64_t until = monotonic_now() + GRACE_AFTER_KILL;
    kill(-pid, SIGKILL);
    while (!has_ended(pid) && monotonic_now() < until)
        poll(&polled, 1, patience(pidfd, until));
    return has_ended(pid);
}

static bool is_stopping(void)
{
    pthread_mutex_lock(&children.mutex);
    bool stopping = children.stopping;
    pthread_mutex_unlock(&children.mutex);
    return stopping;
}

/* It was ended in the middle of what it did. */
static bool fail_interrupted(struct error *error)
{
    error->number = EINTR;
    return false;
}

static bool judge(const char *name, int status, const struct capture *output, const struct capture *words,
                  struct error *error)
{
    char said[WORDS_MOST + 1];
    text_one_line(said, sizeof said, words->used > 0 ? words->text : output->text);
    const char *what = said[0] != '\0' ? said : "it said nothing";
    if (WIFSIGNALED(status) && is_stopping())
        fail(error, UNAVAILABLE, "%s was ended, as the driver is shutting down; try again", name);
    else if (WIFSIGNALED(status))
        fail(error, INTERNAL, "%s was ended by signal %d: %s", name, WTERMSIG(status), what);
    if (WIFSIGNALED(status))
        return fail_interrupted(error);
    if (WEXITSTATUS(status) != 0)
        return fail(error, INTERNAL, "%s failed with status %d: %s", name, WEXITSTATUS(status), what);
    return true;
}

static bool wait_for(const char *name, pid_t pid, struct capture *output, struct capture *words, int64_t deadline,
                     struct error *error)
{
    cleanup_close int pidfd = pidfd_open(pid, 0);
    bool ended = watch(pid, pidfd, output, words, deadline);
    if (!ended && !kill_stuck(pid, pidfd)) {
        abandon(pid);
        fail(error, DEADLINE_EXCEEDED,
             "%s (process %d) did not end in time and cannot be killed: it is stuck in the kernel, look at the disk "
             "and at the kernel's log",
             name, (int)pid);
        return fail_interrupted(error);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    reaped(pid);
    if (!ended) {
        fail(error, DEADLINE_EXCEEDED, "%s did not end in time and was killed; try again", name);
        return fail_interrupted(error);
    }
    return judge(name, status, output, words, error);
}

/* What we read does not block; the child writes to ordinary, blocking pipes. */
static bool open_pipes(int output[2], int words[2], const char *name, struct error *error)
{
    if (pipe2(output, O_CLOEXEC | O_NONBLOCK) == 0) {
        if (pipe2(words, O_CLOEXEC | O_NONBLOCK) == 0) {
            fcntl(output[1], F_SETFL, 0);
            fcntl(words[1], F_SETFL, 0);
            return true;
        }
        int number = errno;
        close(output[0]);
        close(output[1]);
        errno = number;
    }
    return fail_errno(error, errno, "cannot make a pipe for %s", name);
}

/* Closes the child's ends of the pipes. */
static bool run(const char *const argv[], const struct child_options *options, int child_output, int child_words,
                struct capture *output, struct capture *words, struct error *error)
{
    pid_t pid = 0;
    bool started = start(&pid, argv, options, child_output, child_words, error);
    close(child_output);
    close(child_words);
    if (started && options->meanwhile != NULL)
        options->meanwhile(options->data);
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", argv[0], options->has_subcommand ? " " : "",
             options->has_subcommand ? argv[1] : "");
    return started && wait_for(name, pid, output, words, options->deadline, error);
}

bool child_run(const char *const argv[], const struct child_options *options, char **output, struct error *error)
{
    int out[2], err[2];
    char said[WORDS_MOST + 1] = "";
    size_t most = options->output_most > 0 ? options->output_most : WORDS_MOST;
    cleanup_free char *text = calloc(1, most + 1);
    if (output != NULL)
        *output = NULL;
    if (text == NULL)
        return fail(error, RESOURCE_EXHAUSTED, "cannot run %s: out of memory", argv[0]);
    if (!open_pipes(out, err, argv[0], error))
        return false;
    cleanup_capture struct capture kept = {.descriptor = out[0], .text = text, .most = most};
    cleanup_capture struct capture words = {.descriptor = err[0], .text = said, .most = WORDS_MOST, .keep_end = true};
    if (!run(argv, options, out[1], err[1], &kept, &words, error))
        return false;
    if (options->output_most > 0 && kept.overflowed)
        return fail(error, INTERNAL, "%s printed more than %zu bytes", argv[0], most);
    if (output != NULL)
        *output = steal_pointer(text);
    return true;
}
