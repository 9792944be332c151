# One nginx under test: its configuration, its life, its log.
#
# Environment: TEST_NGINX_BINARY, TEST_NGINX_GLOBALS (further lines for the main
# context), TEST_NGINX_EVENTS (further lines for events { }), TEST_NGINX_PRELOAD
# (LD_PRELOAD for nginx alone), TEST_NGINX_DEBUG (debug log), TEST_NGINX_HUP (start
# with an empty configuration, come to the right one by a reload),
# TEST_NGINX_VALGRIND (valgrind and its options, to run nginx with),
# TEST_NGINX_SLOW (a sanitizer or the like: takes more time and memory).

package OpsAuth::Nginx;

use strict;
use warnings;

use Time::HiRes qw(time);

use OpsAuth::Process;

# With sanitizers everything takes longer, in particular the start.
use constant SLOW => $ENV{TEST_NGINX_SLOW} || $ENV{TEST_NGINX_PRELOAD}
    || $ENV{TEST_NGINX_VALGRIND} ? 1 : 0;
use constant PATIENCE => SLOW ? 60 : 20;

# dir      its directory; nothing else writes there but the test itself
# workers  how many
# module   path of the .so to load; undef loads nothing
sub new {
    my ($class, %o) = @_;
    my $self = bless { workers => 1, allow => [], allow_exit => [], slow => [], %o }, $class;
    $self->{binary} = $ENV{TEST_NGINX_BINARY} // '/usr/sbin/nginx';
    mkdir "$self->{dir}/$_" for 'tmp';
    return $self;
}

sub error_log { "$_[0]{dir}/error.log" }
sub stderr    { "$_[0]{dir}/nginx.stderr" }
sub pid       { $_[0]{pid} }
sub running   { OpsAuth::Process->running($_[0]{pid}) }

# What whole seconds of redis_timeout and redis_connect_timeout are in fact: code that
# valgrind has not seen yet takes long the first time. Milliseconds stay what they are.
sub redis_timeout { my ($seconds) = @_; return $ENV{TEST_NGINX_VALGRIND} && $seconds < 10 ? 10 : $seconds }

# --- configuration --------------------------------------------------------------

# the lines for %%TEST_GLOBALS%%; $name keeps those of `nginx -t` apart
sub globals {
    my ($self, $name, $text) = @_;
    my $dir = $self->{dir};
    my $level = $ENV{TEST_NGINX_DEBUG} ? 'debug' : 'info';
    my @lines = (
        'daemon off;',
        "worker_processes @{[$self->wanted_workers]};",
        "error_log $dir/$name.log $level;",
        "pid $dir/$name.pid;",
    );
    # Started by root, workers would become nobody and could read neither the
    # pepper nor the temporary directory.
    if ($> == 0) {
        my ($uid, $gid) = (stat $dir)[4, 5];
        push @lines, sprintf 'user %s %s;', scalar getpwuid $uid, scalar getgrgid $gid;
    }
    push @lines, "load_module $self->{module};"
        if $self->{module} && $text !~ /%%MODULE%%/;
    push @lines, $ENV{TEST_NGINX_GLOBALS} if $ENV{TEST_NGINX_GLOBALS};
    return join "\n", @lines;
}

sub globals_http {
    my ($self, $text) = @_;
    my $dir = $self->{dir};
    my @lines = map { "${_}_temp_path $dir/tmp/$_;" }
        qw(client_body proxy fastcgi uwsgi scgi);
    # a text with access logs of its own gets a default one for the places that
    # it does not name; Debian's would be in /var/log
    push @lines, $text =~ /\baccess_log\b/ ? "access_log $dir/access-default.log;"
                                           : 'access_log off;';
    return join "\n    ", @lines;
}

sub _render {
    my ($self, $name, $text, $substitute) = @_;
    my %own = (
        TEST_GLOBALS      => sub { $self->globals($name, $text) },
        TEST_GLOBALS_HTTP => sub { $self->globals_http($text) },
        TEST_EVENTS       => sub {
            'events { ' . ($ENV{TEST_NGINX_EVENTS} // '') . ' }' },
        TESTDIR           => sub { $self->{dir} },
        MODULE            => sub { $self->{module} // die "no module here\n" },
    );
    my $out = $text;
    $out =~ s/%%(\w+)%%/$own{$1} ? $own{$1}->() : $substitute->($1)/ge;
    # nginx -t has to read what the test wrote
    for my $name ($ENV{TEST_NGINX_VALGRIND} && $name ne 'nginx-t' ? qw(redis_timeout redis_connect_timeout) : ()) {
        $out =~ s/\b$name\s+\K(\d+)(?=s;)/redis_timeout($1)/ge;
        $out =~ s/(\bopsauth_store\s+\w+\s*\{)(?![^}]*\b$name\b)/"$1 $name " . redis_timeout(0) . 's;'/ge;
    }
    my $path = "$self->{dir}/$name.conf";
    open my $fh, '>', $path or die "$path: $!";
    print {$fh} $out;
    close $fh or die "$path: $!";
    return $path;
}

# writes the configuration for the next start or reload
sub config {
    my ($self, $text, $substitute) = @_;
    my $everything = $text . ($ENV{TEST_NGINX_GLOBALS} // '');
    $self->{single} = $everything =~ /\bmaster_process\s+off/;
    return $self->{conf} = $self->_render('error', $text, $substitute);
}

sub _command {
    my ($self, @words) = @_;
    my @valgrind = split ' ', $ENV{TEST_NGINX_VALGRIND} // '';
    # it ends without a thought for its memory
    push @valgrind, '--leak-check=no' if @valgrind && $words[0] eq '-t';
    return (
        name    => 'nginx',
        command => [@valgrind, $self->{binary}, '-p', "$self->{dir}/", @words],
        env     => $ENV{TEST_NGINX_PRELOAD} ? {
            LD_PRELOAD   => $ENV{TEST_NGINX_PRELOAD},
            ASAN_OPTIONS => $ENV{ASAN_OPTIONS}
                // 'detect_leaks=0:detect_odr_violation=0:abort_on_error=0',
            UBSAN_OPTIONS => $ENV{UBSAN_OPTIONS} // 'print_stacktrace=1',
        } : undef,
    );
}

# nginx -t of a text: (exit status, output)
sub test_config {
    my ($self, $text, $substitute) = @_;
    my $conf = $self->_render('nginx-t', $text, $substitute);
    my $out = "$self->{dir}/nginx-t.stderr";
    my $start = -s $out // 0;
    # it ends without a thought for its memory
    local $ENV{ASAN_OPTIONS} = "$ENV{ASAN_OPTIONS}:detect_leaks=0" if $ENV{ASAN_OPTIONS};
    my $pid = OpsAuth::Process->spawn($self->_command('-t', '-c', $conf),
        stdout => $out, stderr => $out);
    my $status = OpsAuth::Process->wait_for($pid, PATIENCE);
    if (!defined $status) {
        OpsAuth::Process->stop($pid, 'KILL');
        return (-1, 'nginx -t does not end');
    }
    return ($status & 127 ? -1 : $status >> 8, _read($out, $start));
}

# --- life -------------------------------------------------------------------------

sub start {
    my ($self) = @_;
    die "nginx runs already\n" if $self->running;
    die "no configuration: call config() first\n" unless $self->{conf};
    my $wanted = $ENV{TEST_NGINX_HUP} && !$self->{single} ? $self->_set_aside : undef;
    $self->_start;
    if ($wanted) {
        rename $wanted, $self->{conf} or die "$self->{conf}: $!";
        if (!eval { $self->reload; 1 }) {
            my $why = $@;
            OpsAuth::Process->stop(delete $self->{pid}, 'TERM');
            die "nginx did not start:\n$why" . _tail($self->log);
        }
    }
    return $self;
}

# puts a configuration without any server in place of the one that is to come,
# with the same lines for the main context; where the one to come is now
sub _set_aside {
    my ($self) = @_;
    my $aside = "$self->{dir}/wanted.conf";
    rename $self->{conf}, $aside or die "$aside: $!";
    open my $fh, '>', $self->{conf} or die "$self->{conf}: $!";
    printf {$fh} "%s\n\nevents { %s }\n", $self->globals('error', _read($aside)),
        $ENV{TEST_NGINX_EVENTS} // '';
    close $fh or die "$self->{conf}: $!";
    return $aside;
}

sub _start {
    my ($self) = @_;
    unlink "$self->{dir}/error.pid";
    $self->{pid} = OpsAuth::Process->spawn($self->_command('-c', $self->{conf}),
        stdout => $self->stderr, stderr => $self->stderr);
    my $ready = OpsAuth::Process->poll(PATIENCE, sub {
        return -1 unless $self->running;
        # the pid file is written after the sockets listen, a worker gets its
        # title after it has been initialised
        return -s "$self->{dir}/error.pid"
            && $self->workers >= $self->wanted_workers;
    });
    return $self if $ready && $ready == 1;
    my $pid = delete $self->{pid};
    OpsAuth::Process->stop($pid, 'TERM');
    die "nginx did not start:\n" . _read($self->stderr, 0) . _tail($self->log);
}

# With master_process off there is one; with more in the configuration it would open
# sockets with reuseport for those, too, from which nobody takes a connection.
sub wanted_workers { my ($self) = @_; return $self->{single} ? 1 : $self->{workers} }

# pids of the workers that serve, without those that are shutting down
sub workers {
    my ($self) = @_;
    return $self->{pid} if $self->{single};
    return $self->_workers_by_log if $ENV{TEST_NGINX_VALGRIND};
    return grep { OpsAuth::Process->title($_) =~ /^nginx: worker process\s*$/ }
        OpsAuth::Process->children($self->{pid});
}

# valgrind's processes keep its own title; one that waits for events is initialised
sub _workers_by_log {
    my ($self) = @_;
    my $log = $self->log;
    my %worker = map { $_ => 1 } $log =~ /start worker process (\d+)/g;
    delete @worker{$log =~ /\[notice\] (\d+)#\d+: (?:gracefully shutting down|exiting)$/mg};
    return grep { $worker{$_} && OpsAuth::Process->has_open($_, qr/eventpoll/) }
        OpsAuth::Process->children($self->{pid});
}

# every child, helpers and old workers included
sub children { OpsAuth::Process->children($_[0]{pid}) }

# Reloads and waits until the new workers serve and the old ones are gone.
# Returns the seconds that it took; dies of an emergency in the log, or if old
# workers are still there after `timeout`. wait => 0: does not wait for the old.
sub reload {
    my ($self, %o) = @_;
    # nginx 1.22.1, with or without modules, then answers every connection with
    # "worker_connections are not enough"
    die "no nginx serves after a reload with master_process off\n" if $self->{single};
    my $mark = $self->mark;
    my $started = time;
    my %old = map { $_ => 1 } $self->children;
    kill 'HUP', $self->{pid};
    my $failed;
    my $done = OpsAuth::Process->poll($o{timeout} // PATIENCE, sub {
        ($failed) = $self->log_since($mark) =~ /^(.*\[emerg\].*)$/m and return 1;
        return 0 if ($o{wait} // 1) && grep { OpsAuth::Process->exists($_) } keys %old;
        return $self->{workers} <= grep { !$old{$_} } $self->workers;
    });
    die "reload failed: $failed\n" if $failed;
    die 'reload: not done after ' . ($o{timeout} // PATIENCE) . " s\n" unless $done;
    return time - $started;
}

sub quit { my ($self, $timeout) = @_; return $self->_end('QUIT', $timeout) }
sub stop { my ($self, $timeout) = @_; return $self->_end('TERM', $timeout) }

# The wait status of the master, or undef if it did not end in time (then it is
# killed, with its workers).
sub _end {
    my ($self, $signal, $timeout) = @_;
    my $pid = $self->{pid};
    return 0 unless $pid && $self->running;
    my @children = $self->children;
    kill $signal, $pid;
    my $status = OpsAuth::Process->wait_for($pid, $timeout // 10);
    delete $self->{pid};
    if (!defined $status) {
        OpsAuth::Process->stop($pid, 'TERM', 2);
        push @{$self->{slow}}, $signal;
    }
    # workers of a killed master would stay
    kill 'KILL', grep { OpsAuth::Process->is_nginx($_) } @children;
    return $status;
}

# Kills a worker and waits for its successor. Returns both pids.
sub kill9_worker {
    my ($self, $pid) = @_;
    my %before = map { $_ => 1 } $self->workers;
    $pid //= ($self->workers)[0];
    push @{$self->{allow_exit}}, qr/worker process $pid exited on signal 9/;
    kill 'KILL', $pid;
    my $new;
    OpsAuth::Process->poll(PATIENCE, sub { ($new) = grep { !$before{$_} } $self->workers });
    return ($pid, $new);
}

# --- its log ------------------------------------------------------------------------

sub _read {
    my ($path, $from) = @_;
    open my $fh, '<:raw', $path or return '';
    seek $fh, $from // 0, 0;
    local $/;
    return <$fh> // '';
}

sub _tail {
    my ($text) = @_;
    my @lines = split /^/, $text;
    splice @lines, 0, -30 if @lines > 30;
    return join '', @lines;
}

sub log       { my ($self) = @_;        return _read($self->error_log, 0) }
sub mark      { my ($self) = @_;        return -s $self->error_log // 0 }
sub log_since { my ($self, $mark) = @_; return _read($self->error_log, $mark) }

# waits until the log, from the mark on, matches; returns whether it did
sub wait_for_log {
    my ($self, $pattern, %o) = @_;
    return OpsAuth::Process->poll($o{timeout} // 5, sub {
        return $self->log_since($o{since} // 0) =~ $pattern ? 1 : 0;
    }) ? 1 : 0;
}

1;
