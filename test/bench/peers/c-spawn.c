/* The limit of a machine: `sh -c true`, so many at once, output into files, nothing else.
   Arguments: how many jobs, how many at once, a folder for the output. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void start(int slot, const char *folder) {
  char out[512], err[512];
  char *words[] = {"/bin/sh", "-c", "true", NULL};
  posix_spawn_file_actions_t files;
  pid_t pid;
  snprintf(out, sizeof out, "%s/%d.out", folder, slot);
  snprintf(err, sizeof err, "%s/%d.err", folder, slot);
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (posix_spawn(&pid, "/bin/sh", &files, NULL, words, environ)) exit(2);
  posix_spawn_file_actions_destroy(&files);
}

int main(int argc, char **argv) {
  if (argc < 4) return 3;
  int jobs = atoi(argv[1]), at_once = atoi(argv[2]), begun = 0, ended = 0;
  while (begun < jobs && begun < at_once) start(begun++, argv[3]);
  while (ended < begun) {
    int status;
    if (wait(&status) < 0 || status != 0) return 4;
    ended++;
    if (begun < jobs) start(begun++ % at_once, argv[3]);
  }
  return 0;
}
