"""The surroundings of benches/fanout: one sshd that answers on all of 127/8, in directories that only we see."""
import filecmp, hashlib, os, random, shutil, subprocess, sys, time

HOSTFS = "/run/hostfs"
SOCKETS = "/run/dsau/ssh"
KINDS = ("rsa", "ecdsa", "ed25519")
SLEEPER = "#include <time.h>\nint main(void) { struct timespec t = {0, 10000000}; return nanosleep(&t, 0); }\n"
# A login shell that gives each address files of its own.
SHELL = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char address[64], path[128], *c = getenv("SSH_CONNECTION");
    if (!c || sscanf(c, "%*s %*s %63s", address) != 1) return 99;
    snprintf(path, sizeof path, "/run/hosts/%s", address);
    mkdir(path, 0755);
    if (unshare(CLONE_NEWNS) || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) || mount(path, "HOSTFS", 0, MS_BIND, 0)) return 98;
    argv[0] = "sh";
    execv("/bin/sh", argv);
    return 97;
}
""".replace("HOSTFS", HOSTFS)


def must(*command, **kw):
    result = subprocess.run(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **kw)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: {result.returncode}\n{result.stdout}")
    return result.stdout


def compiled(text, path):
    with open(path + ".c", "w") as source:
        source.write(text)
    must("cc", "-O2", "-static", "-o", path, path + ".c")


def children():
    """The parent of each process that has not ended."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                state, parent = stat.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(pid)] = int(parent)
    return parents


def reap():
    """Buries what was left to us, who are the first process here: each connection that was kept is one. Thousands of
    dead ssh make it take longer to look at all processes than a living one lives. Nothing that is waited for may run."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class Lab:
    def __init__(self, kex, window):
        must("ip", "link", "set", "lo", "up")
        for path in ("/root", "/run"):
            must("mount", "-t", "tmpfs", "-o", "mode=700" if path == "/root" else "mode=755", "bench", path)
        for path, mode in (("/root/.ssh", 0o700), ("/run/sshd", 0o755), ("/run/hosts", 0o755), (HOSTFS, 0o755)):
            os.mkdir(path, mode)
        # One of each kind, as everywhere: ssh also looks for those that it knows and is not shown.
        self.host_keys = [self.key(kind, "host") for kind in KINDS]
        must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
        must("cp", "/root/.ssh/id_ed25519.pub", "/root/.ssh/authorized_keys")
        self.known = "".join(f"127.* {key}\n" for key in self.host_keys)
        self.restore(self.known)
        with open("/run/sshd_config", "w") as config:
            config.writelines(f"HostKey /run/host_{kind}\n" for kind in KINDS)
            config.write(f"MaxStartups 10000\nMaxSessions 1000\nUsePAM no\nPidFile none\n"
                         f"KexAlgorithms {kex}\nLogLevel QUIET\n")
        os.environ.pop("SSH_AUTH_SOCK", None)
        os.environ["HOME"] = "/root"
        for variable in ("WCOLL", "CFANOUT_HOSTS", "PDSH_SSH_ARGS_APPEND", "PDSH_SSH_ARGS", "DSAU_SSH", "FANOUT"):
            os.environ.pop(variable, None)
        # Every connection is a few descriptors of sshd, whatever the limit of the tools.
        must("/usr/sbin/sshd", "-f", "/run/sshd_config")

    def key(self, kind, name):
        """Makes a key and gives its public part."""
        must("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", f"/run/{name}_{kind}")
        with open(f"/run/{name}_{kind}.pub") as key:
            return " ".join(key.read().split()[:2])

    def names(self, n):
        return [f"127.1.{i // 200}.{i % 200 + 1}" for i in range(n)]

    def list(self, n):
        path = f"/run/hosts-{n}"
        with open(path, "w") as hosts:
            hosts.write("\n".join(self.names(n)) + "\n")
        return path

    def holders(self):
        """The processes that hold connections, and the CPU time each has used, in seconds."""
        used = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/schedstat") as stat:
                    if comm.read().strip() == "ssh":
                        used[pid] = int(stat.read().split()[0]) / 1e9
            except OSError:
                pass
        return used

    def by_name(self, n):
        """A directory with the sockets of the kept connections under the names of their hosts, for pdsh."""
        path = f"/run/by-name-{n}"
        os.makedirs(path, 0o700, exist_ok=True)
        for name in self.names(n):
            # As src/remote/keep.rs names them: program, host, port, user, agent, each after its length.
            parts = [b"ssh", name.encode(), b"", b"", b""]
            text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
            socket = f"{SOCKETS}/{hashlib.sha256(text).hexdigest()[:24]}"
            if not os.path.exists(socket):
                sys.exit(f"no connection to {name} is kept at {socket}")
            link = f"{path}/{name}"
            if not os.path.islink(link):
                os.symlink(socket, link)
        return path

    def stand_in(self):
        os.makedirs("/run/stand-in", exist_ok=True)
        compiled(SLEEPER, "/run/stand-in/ssh")
        return "/run/stand-in"

    def peak(self, command):
        """The largest memory of the tool itself and of all its processes together, in MiB."""
        tool, both, most = 0, 0, 0
        reap()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            parents, own, total = children(), {process.pid}, 0
            while more := {pid for pid, parent in parents.items() if parent in own} - own:
                own |= more
            calls = {int(pid) for pid in self.holders()} & parents.keys()
            own, most = own | calls, max(most, len(calls))
            for pid in own:
                try:
                    with open(f"/proc/{pid}/smaps_rollup") as rollup:
                        total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
                except (OSError, StopIteration):
                    pass
            try:
                with open(f"/proc/{process.pid}/status") as status:
                    tool = max([tool] + [int(line.split()[1]) for line in status if line.startswith("VmHWM")])
            except OSError:
                pass
            both = max(both, total)
            time.sleep(0.02)
        if process.returncode != 0 or most < 8:
            sys.exit(f"{' '.join(command)}: {process.returncode}, {most} ssh at once")
        return tool / 1024, both / 1024

    def restore(self, text):
        with open("/root/.ssh/known_hosts", "w") as known:
            known.write(text)

    def hash_known(self, hosts, n):
        """So many hosts with three keys each, hashed; the first n are ours, with the right keys."""
        keys = [self.key(kind, "other") for kind in KINDS]
        others = [f"10.{i // 250}.{i % 250}.1" for i in range(hosts - n)]
        lines = [f"{name} {key}\n" for name in others for key in keys]
        lines += [f"{name} {key}\n" for name in self.names(n) for key in self.host_keys]
        random.Random(1).shuffle(lines)
        self.restore("".join(lines))
        must("ssh-keygen", "-q", "-H", "-f", "/root/.ssh/known_hosts", stderr=subprocess.DEVNULL)
        os.remove("/root/.ssh/known_hosts.old")

    def trust(self, csshsetup, n):
        """Has csshsetup put the keys of the hosts into its small files."""
        must(csshsetup, "--yes-host-keys", "-f", self.list(n))
        if not os.path.isdir("/root/.ssh/dsau/known_hosts.d"):
            sys.exit("csshsetup made no small files of host keys")

    def distrust(self):
        """As it was before."""
        shutil.rmtree("/root/.ssh/dsau")
        os.remove("/root/.ssh/config")
        self.restore(self.known)

    def own_files(self):
        """From now on each host has files of its own at HOSTFS."""
        compiled(SHELL, "/run/hostsh")
        with open("/etc/passwd") as passwd:
            lines = [line if not line.startswith("root:") else line.rpartition(":")[0] + ":/run/hostsh\n" for line in passwd]
        with open("/run/passwd", "w") as passwd:
            passwd.writelines(lines)
        must("mount", "--bind", "/run/passwd", "/etc/passwd")

    def shared_files(self):
        must("umount", "/etc/passwd")
        shutil.rmtree("/run/hosts")
        os.mkdir("/run/hosts")

    def source(self, what):
        text = random.Random(what)
        if what == "10 MB":
            with open("/run/ten", "wb") as file:
                file.write(text.randbytes(10_000_000))
            return "/run/ten"
        for d in range(10):
            os.makedirs(f"/run/tree/d{d}")
            for f in range(100):
                with open(f"/run/tree/d{d}/f{f}", "wb") as file:
                    file.write(text.randbytes(text.randrange(200, 7800)))
        return "/run/tree"

    def files_before(self, how, source, copy):
        """Puts the hosts into the state that a copy shall start from."""
        if how == "first":
            shutil.rmtree("/run/hosts")
            os.mkdir("/run/hosts")
            return
        # They have what this very tool left there.
        must(*copy)
        if how == "one file changed":
            with open(f"{source}/d3/f3", "ab") as file:
                file.write(b"one line more\n")

    def same_files(self, source, n, name):
        for host in self.names(n):
            copy = f"/run/hosts/{host}/{os.path.basename(source)}"
            same = filecmp.cmp(source, copy, shallow=False) if os.path.isfile(source) else must("diff", "-r", source, copy) == ""
            if not same:
                sys.exit(f"{name}: {copy} is not {source}")

    def answers(self, hosts, lines):
        with open("/run/answers", "w") as text:
            for line in range(lines):
                said = f"line {line:5} {'x' * 48}\n"
                for host in range(hosts):
                    other = "another " if host % 100 == 7 and line == 500 else ""
                    text.write(f"node{host:04}: {other}{said}")
        return "/run/answers"

    def shuffled(self, count):
        names = [f"n{i:05}" for i in range(1, count + 1)]
        random.Random(1).shuffle(names)
        with open("/run/names", "w") as text:
            text.write("\n".join(names) + "\n")
        return "/run/names"

    def busy(self):
        """How much of the machine others use just now, in percent."""
        def now():
            with open("/proc/stat") as stat:
                fields = list(map(int, stat.readline().split()[1:]))
            return sum(fields[:8]), fields[3] + fields[4]
        (all1, idle1), _, (all2, idle2) = now(), time.sleep(2), now()
        return round(100 - 100 * (idle2 - idle1) / max(1, all2 - all1))
