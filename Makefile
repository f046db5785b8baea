# make            what is shipped: the multi-call dsau and cfservd
# make test       everything: format, lints, unit, tool, lab and manual page tests
# make demo       the main job before your eyes, on four hosts
# make lab        the same four hosts, to play with
# make install    into DESTDIR (default: this machine); PROFILE=debug installs what 'cargo build' made
# make deb rpm depot   packages of what 'make' built, into target/packages (PROFILE=debug: of what 'cargo build' made)
# make bench      the benchmarks, side by side with rsync and cf-agent 3 (benches/kept --setup installs it)
#
# 'make install' is the single truth about where things go; deb, rpm and depot are made from it.

PROFILE ?= dist
DESTDIR ?=
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BUILT := $(TARGET)/$(PROFILE)
LABROOT := $(TARGET)/lab-root
PACKAGES := $(abspath $(TARGET))/packages
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Where the manuals say /sbin: since Debian 12 that is a link to /usr/sbin, and a package must name the real folder.
INITD ?= /usr/sbin/init.d
UNITDIR ?= /usr/lib/systemd/system
ZSHDIR ?= /usr/share/zsh/vendor-completions
# Names of other tools: links in a directory that is in no PATH by itself, see spellings(7).
SPELLINGS := pdsh pdcp rpdcp dshbak clush clubak nodeset cluset
OPT := $(DESTDIR)/opt/dsau
VAR := $(DESTDIR)/var/opt/dsau

.PHONY: dist debug test lint demo lab lab-root bench install deb rpm depot

dist:
	$(CARGO) build --locked --profile dist --bin dsau --bin cfservd

debug:
	$(CARGO) build --locked --bin dsau --bin cfservd

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	mandoc -T lint -W warning man/*.[1-9]

test: lint
	$(CARGO) test --locked --lib --test '*'
	DSAU_TEST_ONE_PROCESS=1 $(CARGO) test --locked --test cli -- cfservd:: hostile:: large::

lab-root: debug
	@rm -rf $(LABROOT)
	@$(MAKE) -s install PROFILE=debug DESTDIR=$(abspath $(LABROOT))

lab: lab-root
	@tests/lab/lab down
	@tests/lab/lab up 4
	@tests/lab/lab list
	@echo 'a shell: tests/lab/lab sh master    the end: tests/lab/lab down'

demo:
	@tests/setup
	@$(MAKE) -s lab-root
	@tests/lab/demo

bench:
	benches/policy
	benches/kept
	benches/sync
	benches/scale

$(TARGET)/%/dsau $(TARGET)/%/cfservd:
	@[ -e $@ ] || { echo "make: $@ is not there: run 'make $*' first" >&2; exit 1; }

# The table of tools says in the source which of the two folders each lives in.
install: $(BUILT)/dsau $(BUILT)/cfservd
	install -d $(OPT)/bin $(OPT)/sbin $(OPT)/libexec $(OPT)/doc $(DESTDIR)/usr/bin $(DESTDIR)/usr/sbin
	install -m 755 $(BUILT)/dsau $(OPT)/bin/dsau
	install -m 755 $(BUILT)/cfservd $(OPT)/sbin/cfservd
	@sed -n -e 's/^ *name: "\(.*\)",/\1/p' -e 's/^ *place: Place::\(.*\),/\1/p' $$(grep -lr '^pub static TOOL' src/tools) \
	| while read -r name && read -r place; do \
		case $$place in Bin) dir=bin target=dsau ;; *) dir=sbin target=../bin/dsau ;; esac; \
		[ -e $(OPT)/$$dir/$$name ] || ln -sfn $$target $(OPT)/$$dir/$$name; \
		ln -sfn ../../opt/dsau/$$dir/$$name $(DESTDIR)/usr/$$dir/$$name; \
	done
	install -d $(OPT)/lib/spellings
	for name in $(SPELLINGS); do ln -sfn ../../bin/dsau $(OPT)/lib/spellings/$$name || exit 1; done
	@set -e; put() { [ ! -d "$$2" ] || (cd "$$2" && find . -type f ! -name '.*') | while read -r file; do \
		[ -n "$${keep-}" ] && [ -e "$$3/$$file" ] || install -D -m "$$1" "$$2/$$file" "$$3/$$file"; done; }; \
	put 644 share/templates/cfengine $(OPT)/share/cfengine/templates; \
	put 644 share/templates/serviceguard $(OPT)/share/serviceguard/templates; \
	put 644 share/examples $(OPT)/share/cfengine/examples; \
	put 644 share/doc $(OPT)/share/doc; \
	put 755 init/init.d $(DESTDIR)$(INITD); \
	put 644 init/systemd $(DESTDIR)$(UNITDIR); \
	put 644 init/system-preset $(DESTDIR)/usr/lib/systemd/system-preset; \
	put 644 init/tmpfiles.d $(DESTDIR)/usr/lib/tmpfiles.d; \
	put 644 init/sysusers.d $(DESTDIR)/usr/lib/sysusers.d; \
	keep=yes; put 644 init/rc.config.d $(DESTDIR)/etc/rc.config.d; \
	put 644 init/logrotate.d $(DESTDIR)/etc/logrotate.d; \
	put 644 init/bash_completion.d $(DESTDIR)/etc/bash_completion.d
	ln -sfn ../share/doc/cfengine $(OPT)/doc/cfengine
	for page in man/*.[1-9]; do \
		install -D -m 644 $$page $(DESTDIR)/usr/share/man/man$${page##*.}/$${page##*/} || exit 1; \
	done
	install -d $(DESTDIR)/usr/share/bash-completion/completions $(DESTDIR)$(ZSHDIR) $(DESTDIR)/usr/share/fish/vendor_completions.d \
		$(OPT)/share/bash-completion
	@set -e; for tool in dsau $$($(BUILT)/dsau --list); do \
		say() { $(BUILT)/dsau --completion $$1 $$tool; }; \
		case $$tool in \
		cfagent | cfrun) say bash >$(OPT)/share/bash-completion/$$tool ;; \
		*) say bash >$(DESTDIR)/usr/share/bash-completion/completions/$$tool ;; \
		esac; \
		say zsh >$(DESTDIR)$(ZSHDIR)/_$$tool; \
		say fish >$(DESTDIR)/usr/share/fish/vendor_completions.d/$$tool.fish; \
	done
	install -d $(VAR)/cfengine $(VAR)/cfengine/inputs $(VAR)/cfengine/bin
	install -d -m 700 $(VAR)/cfengine/ppkeys $(VAR)/cfengine/outputs $(VAR)/cfengine/state
	for name in cfagent cfexecd cfkey cfrun cfservd cfshow; do ln -sfn /opt/dsau/sbin/$$name $(VAR)/cfengine/bin/$$name; done

# Debian wants its folder at the top of the tree, so the package is made in a copy, of what is built already.
SOURCES := Cargo.toml Cargo.lock Makefile README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT init man pkg share src
deb: $(BUILT)/dsau $(BUILT)/cfservd
	rm -rf $(PACKAGES)/deb $(PACKAGES)/*.deb
	install -d $(PACKAGES)/deb/dsau
	cp -a $(SOURCES) $(PACKAGES)/deb/dsau
	cp -a pkg/debian $(PACKAGES)/deb/dsau/debian
	cd $(PACKAGES)/deb/dsau && CARGO_TARGET_DIR=$(abspath $(TARGET)) PROFILE=$(PROFILE) dpkg-buildpackage -us -uc -b -d
	mv $(PACKAGES)/deb/*.deb $(PACKAGES)
	rm -rf $(PACKAGES)/deb

rpm: $(BUILT)/dsau $(BUILT)/cfservd
	rm -rf $(PACKAGES)/rpm $(PACKAGES)/*.rpm
	install -d $(PACKAGES)/rpm/BUILD
	CARGO_TARGET_DIR=$(abspath $(TARGET)) rpmbuild -bb --quiet $(RPMFLAGS) --define '_topdir $(PACKAGES)/rpm' --define '_rpmdir $(PACKAGES)' \
		--define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' --define 'dsau_version $(VERSION)' \
		--define 'dsau_source $(CURDIR)' --define 'profile $(PROFILE)' pkg/rpm/dsau.spec
	rm -rf $(PACKAGES)/rpm

# A depot for the tools of POSIX 1387.2, as a directory and as one file.
depot: $(BUILT)/dsau $(BUILT)/cfservd
	rm -rf $(PACKAGES)/depot $(PACKAGES)/dsau-$(VERSION).depot $(PACKAGES)/dsau-$(VERSION).depot.tar
	$(MAKE) -s install DESTDIR=$(PACKAGES)/depot/stage
	cp -a pkg/depot/scripts $(PACKAGES)/depot/scripts
	sed -e 's/@VERSION@/$(VERSION)/' -e "s/@MACHINE@/$$(uname -m)/" pkg/depot/dsau.psf.in >$(PACKAGES)/depot/dsau.psf
	pkg/depot/swpackage $(PACKAGES)/depot/dsau.psf $(PACKAGES)/dsau-$(VERSION).depot
	pkg/depot/swverify $(PACKAGES)/depot/dsau.psf $(PACKAGES)/dsau-$(VERSION).depot
	pkg/depot/swverify $(PACKAGES)/depot/dsau.psf $(PACKAGES)/dsau-$(VERSION).depot.tar
