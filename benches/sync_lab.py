"""The surroundings of benches/sync: two lab hosts, one tree after another, and the same sync in the words of each tool."""
import json, os, shutil, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
MASTER, CLIENT, BETWEEN = "master", "client1", "client2"
TREES, COPY = "/var/opt/trees", "/var/opt/copy"
WORK = "/var/opt/dsau/cfengine"
# cf-serverd beside cfservd: the two have the same port of their own accord.
PORTS = {"cfagent": 5308, "cf-agent": 5309, "rsync": 873}
PEERS = {"rsync": "rsync", "cf-agent": "cfengine3", "strace": "strace"}

# Runs a command in a host; the clock starts inside, so that entering costs nothing.
TIMER = """import json, resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, code]))"""

# The same for many commands that are started at once: each is an environment and words, one JSON list on standard input.
CROWD = """import json, os, resource, subprocess, sys, time
crowd = json.load(sys.stdin)
start = time.monotonic()
running = [subprocess.Popen(words, env={**os.environ, **env}, stdout=subprocess.DEVNULL) for env, words in crowd]
codes = [process.wait() for process in running]
print(json.dumps([time.monotonic() - start, max(codes)]))"""

# Hands bytes on in both directions, each SECONDS late, however many there are: a longer cable. A thinner one where RATE, the
# bytes in a second that go through each connection in each direction, is not 0. Both are in a file, for those to come.
PROXY = """import socket, sys, threading, time, queue
port, host, file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def pump(source, sink, late, rate):
    waiting = queue.Queue()
    def send():
        free = 0
        while True:
            due, data = waiting.get()
            due = max(due, free)
            time.sleep(max(0, due - time.monotonic()))
            free = due + len(data) / rate if rate else 0
            try:
                sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
            except OSError:
                return
            if not data:
                return
    threading.Thread(target=send, daemon=True).start()
    data = b'x'
    while data:
        try:
            data = source.recv(1 << 13 if rate else 1 << 18)
        except OSError:
            data = b''
        waiting.put((time.monotonic() + late, data))
listener = socket.create_server(('', port), backlog=128)
while True:
    near, _ = listener.accept()
    line = [float(word) for word in open(file).read().split()]
    far = socket.create_connection((host, port))
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for ends in ((near, far), (far, near)):
        threading.Thread(target=pump, args=(*ends, *line), daemon=True).start()"""

# What the processes of a server have used, its network process among them: processor seconds with those that ended, and
# the memory of all in MiB.
USED = """import os, sys
ticks, used, memory = os.sysconf('SC_CLK_TCK'), 0, 0
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        if open(f'/proc/{pid}/comm').read().strip().removesuffix('-net') != sys.argv[1]:
            continue
        fields = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()
        # Ended children are counted at their parent, those that run by themselves.
        used += sum(map(int, fields[11:15])) / ticks
        memory += next(int(line.split()[1]) for line in open(f'/proc/{pid}/smaps_rollup') if line.startswith('Pss:'))
    except (OSError, StopIteration):
        pass
print(used, memory / 1024)"""


def die(what):
    sys.exit(f"benches/sync: {what}")


def install_peers():
    missing = [package for program, package in PEERS.items() if not shutil.which(program)]
    if missing:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL, env=env)
        # The packages' own daemons are not wanted here.
        subprocess.run(["systemctl", "disable", "--now", "cfengine3"], check=False, capture_output=True)


class Lab:
    def __init__(self, build):
        self.words = [os.path.join(ROOT, "tests/lab/lab"), "-n", f"bench{os.getpid()}"]
        if build:
            subprocess.run(["make", "-s", "-C", ROOT, "dist"], check=True)
        built = os.path.join(ROOT, "target/bench-root")
        shutil.rmtree(built, ignore_errors=True)
        subprocess.run(["make", "-s", "-C", ROOT, "install", f"DESTDIR={built}"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*self.words, "-r", built, "up", "3"], check=True, stdout=subprocess.DEVNULL)
        self.background = []

    def down(self):
        for process in self.background:
            process.kill()
        subprocess.run([*self.words, "down"], check=False, capture_output=True)

    def sh(self, host, script, *words, given=None):
        command = [*self.words, "sh", host, "sh", "-c", script, "sh", *words]
        result = subprocess.run(command, text=True, capture_output=True, input=given)
        if result.returncode != 0:
            die(f"{host}: {script}\n{result.stdout}{result.stderr}")
        return result.stdout

    def python(self, host, program, *words, given=None):
        command = [*self.words, "sh", host, "/usr/bin/python3", "-c", program, *words]
        result = subprocess.run(command, text=True, capture_output=True, input=given)
        if result.returncode != 0:
            die(f"{host}: {' '.join(words)}\n{result.stdout}{result.stderr}")
        return result.stdout, result.stderr

    def write(self, host, path, text, mode="600"):
        self.sh(host, 'mkdir -p "${1%/*}" && umask 077 && cat >"$1" && chmod "$2" "$1"', path, mode, given=text)

    def start(self, host, *words):
        """A process that runs beside all else."""
        process = subprocess.Popen([*self.words, "sh", host, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.background.append(process)

    def timed(self, words, env=None):
        """Wall, processor seconds and largest memory in MiB of a run on the client."""
        out, err = self.python(CLIENT, TIMER, *["env", *(f"{k}={v}" for k, v in (env or {}).items()), *words])
        wall, cpu, memory, code = json.loads(out.splitlines()[-1])
        if code != 0 or err.strip():
            die(f"{' '.join(words)}: status {code}\n{err}")
        return wall, cpu, memory

    def crowd(self, crowd):
        """Wall seconds until the last of many runs has ended that began at once."""
        wall, code = json.loads(self.python(CLIENT, CROWD, given=json.dumps(crowd))[0].splitlines()[-1])
        if code != 0:
            die(f"one of {len(crowd)} runs ended with status {code}: {crowd[0]}")
        return wall

    def server(self, name):
        """Processor seconds and memory in MiB that a server and its children have used up to now."""
        return tuple(map(float, self.python(MASTER, USED, name)[0].split()))

    def wire(self):
        """Bytes and packets that the client has received and sent."""
        rows = [line.split(":")[1].split() for line in self.sh(CLIENT, "cat /proc/net/dev").splitlines() if ":" in line and "lo:" not in line]
        return [sum(int(row[column]) for row in rows) for column in (0, 8, 1, 9)]


class Tools:
    """Servers on the master and, for each tree, the command of each tool that brings the copy up to date."""

    def __init__(self, lab, clients):
        self.lab = lab
        self.proxied = False
        address = {host: lab.sh(host, "hostname -i").split()[0] for host in (MASTER, CLIENT, BETWEEN)}
        self.near, self.far = address[MASTER], address[BETWEEN]
        # Trust both ways; the host between them stands for each to the other.
        public = {}
        for host in (MASTER, CLIENT):
            lab.sh(host, "/opt/dsau/sbin/cfkey >/dev/null")
            public[host] = lab.sh(host, f"cat {WORK}/ppkeys/localhost.pub")
        for host, peer in ((MASTER, CLIENT), (CLIENT, MASTER)):
            for other in (address[peer], self.far):
                lab.write(host, f"{WORK}/ppkeys/root-{other}.pub", public[peer], "644")
        lab.write(MASTER, f"{WORK}/inputs/cfservd.conf",
                  f"control:\n  MaxConnections = ( 500 )\n  AllowMultipleConnectionsFrom = ( 0.0.0.0/0 )\nadmit:\n  {TREES} {address[CLIENT]} {self.far}\n")
        lab.sh(MASTER, f"mkdir -p {TREES}; /opt/dsau/sbin/cfservd")
        lab.write(MASTER, "/etc/rsyncd.conf", f"uid = root\ngid = root\nuse chroot = no\n[trees]\npath = {TREES}\n")
        lab.sh(MASTER, "rsync --daemon")
        self.theirs(MASTER, "/var/opt/cf3")
        lab.write(MASTER, "/var/opt/cf3/serve.cf", f"""body common control {{ bundlesequence => {{ "main" }}; }}
bundle agent main {{ }}
body server control {{
  port => "{PORTS['cf-agent']}"; maxconnections => "500"; allowconnects => {{ "0.0.0.0/0" }};
  allowallconnects => {{ "0.0.0.0/0" }}; trustkeysfrom => {{ "0.0.0.0/0" }};
}}
bundle server access_rules {{ access: "{TREES}" admit_ips => {{ "0.0.0.0/0" }}; }}
""")
        lab.start(MASTER, "env", "CFENGINE_TEST_OVERRIDE_WORKDIR=/var/opt/cf3", "cf-serverd", "-F", "-f", "/var/opt/cf3/serve.cf")
        lab.sh(MASTER, f"until ss -ltn | grep -q :{PORTS['cf-agent']}; do sleep 0.1; done")
        for n in range(clients + 1):
            self.theirs(CLIENT, self.work(n))
            if n:
                lab.sh(CLIENT, f"mkdir -p /var/opt/root{n}{WORK} && cp -a {WORK}/ppkeys /var/opt/root{n}{WORK}/")

    def work(self, n):
        return f"/var/opt/cf3.{n}"

    def theirs(self, host, where):
        """A work directory for cf-agent, which checks each policy with a second program that it looks for in there."""
        self.lab.sh(host, f"mkdir -p {where}/inputs {where}/ppkeys {where}/state {where}/bin {where}/modules {where}/outputs {where}/plugins; "
                          f"chmod -R go= {where}; ln -s $(command -v cf-promises) {where}/bin/; "
                          f"CFENGINE_TEST_OVERRIDE_WORKDIR={where} cf-key >/dev/null 2>&1")

    def proxy(self, late, rate=0):
        """From now on all servers are also found at `far`, so many seconds away in each direction, behind a line that takes so
        many bytes in a second."""
        self.lab.write(BETWEEN, "/tmp/line", f"{late} {rate}")
        if self.proxied:
            return
        self.proxied = True
        for port in map(str, PORTS.values()):
            self.lab.start(BETWEEN, "/usr/bin/python3", "-c", PROXY, port, self.near, "/tmp/line")
            self.lab.sh(BETWEEN, f"until ss -ltn | grep -q :{port}; do sleep 0.05; done")

    def commands(self, tree, server=None, purge=False):
        """Writes the policies for one tree, and gives the command of each tool: environment by number of the client, words."""
        server, stem = server or self.near, f"/var/opt/{tree}-{'far' if server else 'near'}"
        self.lab.write(CLIENT, f"{stem}.cf", f"""control:
  actionsequence = ( copy )
  IfElapsed = ( 0 )
copy:
  {TREES}/{tree} dest={COPY} recurse=inf type=checksum server={server} backup=false purge={str(purge).lower()}
""")
        self.lab.write(CLIENT, f"{stem}.cf3", f"""body common control {{ bundlesequence => {{ "main" }}; }}
body agent control {{ ifelapsed => "0"; }}
body copy_from tree {{
  servers => {{ "{server}" }}; portnumber => "{PORTS['cf-agent']}"; source => "{TREES}/{tree}"; compare => "digest";
  trustkey => "true"; copy_backup => "false"; preserve => "true"; purge => "{str(purge).lower()}";
}}
body depth_search all {{ depth => "inf"; }}
bundle agent main {{ files: "{COPY}" copy_from => tree, depth_search => all; }}
""")
        delete = ["--delete"] if purge else []
        source = f"rsync://{server}/trees/{tree}/"
        ours = lambda n: {"DSAU_ROOT": f"/var/opt/root{n}"} if n else {}
        theirs = lambda n: {"CFENGINE_TEST_OVERRIDE_WORKDIR": self.work(n)}
        none = lambda n: {}
        return {
            "cfagent": (ours, ["/opt/dsau/sbin/cfagent", "-q", "-f", f"{stem}.cf"]),
            "cf-agent": (theirs, ["cf-agent", "-K", "-f", f"{stem}.cf3"]),
            "rsync -a": (none, ["rsync", *delete, "-a", source, f"{COPY}/"]),
            "rsync -ac": (none, ["rsync", *delete, "-ac", source, f"{COPY}/"]),
        }
