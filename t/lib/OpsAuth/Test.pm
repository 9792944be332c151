# The test object: one private directory, the servers that a test needs, and the
# assertions that every test makes at its end.
#
#   my $t = OpsAuth::Test->new(workers => 2);
#   my $store = $t->store;                  # a real Redis with pepper and marker
#   $t->upstream;
#   $t->config_http(<<'CONF');
#       opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; ... }
#       server { listen 127.0.0.1:%%PORT_8080%%; ... }
#   CONF
#   $t->start;
#   is($t->get('/', key => $store->issue)->status, 200);
#   $t->done;
#
# Environment, besides that of OpsAuth::Nginx: TEST_NGINX_MODULE ("none" for an
# nginx with the module built in), TEST_NGINX_LEAVE keeps the directory,
# TEST_NGINX_CATLOG prints the log, TEST_NGINX_VERBOSE says what is done,
# TEST_TIMEOUT seconds for one test file (300).

package OpsAuth::Test;

use strict;
use warnings;

use Cwd ();
use File::Basename qw(dirname);
use File::Path ();
use File::Temp ();
use POSIX ();
use Test::More ();
use Time::HiRes ();

use OpsAuth::AuthServer;
use OpsAuth::Certificates;
use OpsAuth::Check;
use OpsAuth::DNS;
use OpsAuth::FakeRedis;
use OpsAuth::HTTP;
use OpsAuth::Load;
use OpsAuth::Nginx;
use OpsAuth::Port;
use OpsAuth::Process;
use OpsAuth::Proxy;
use OpsAuth::Redis;
use OpsAuth::Store;
use OpsAuth::Upstream;

my $ROOT = Cwd::realpath(dirname(__FILE__) . '/../../..');
my @ALL;                                    # test objects of this process
my $OWNER = $$;

# workers => n, module => 0: nginx without the module
sub new {
    my ($class, %o) = @_;
    my $run = OpsAuth::Process->run_id;
    my $dir = File::Temp::tempdir("opsauth-$run-XXXXXX", TMPDIR => 1, CLEANUP => 0);
    my $self = bless {
        dir => $dir, vars => {}, ports => {}, secrets => {}, own => {},
        allow => [], %o,
    }, $class;
    push @ALL, $self;

    mkdir "$dir/nginx" or die "$dir/nginx: $!";
    $self->{nginx} = OpsAuth::Nginx->new(
        dir     => "$dir/nginx",
        workers => $o{workers} // 1,
        module  => $o{module} // 1 ? $class->module_path : undef,
    );

    # nothing hangs for ever, whatever a test forgets
    $SIG{ALRM} = sub { die "this test takes too long\n" };
    $SIG{PIPE} = 'IGNORE';
    alarm($ENV{TEST_TIMEOUT} // 300);
    $self->note("directory $dir");
    return $self;
}

sub root { $ROOT }
sub dir  { $_[0]{nginx}{dir} }              # %%TESTDIR%%

# the module's path; undef if nginx has it built in
sub module_path {
    my $path = $ENV{TEST_NGINX_MODULE} // "$ROOT/build/ngx_http_opsauth_module.so";
    return $path eq 'none' ? undef : Cwd::abs_path($path) // $path;
}

# the command line's path
sub opsauth_path { return $ENV{TEST_OPSAUTH} // "$ROOT/build/opsauth" }

sub note {
    my ($self, $text) = @_;
    Test::More::note($text) if $ENV{TEST_NGINX_VERBOSE};
}

# --- what stands around nginx -------------------------------------------------------

# the real port for a name, the same one every time
sub port {
    my ($self, $name) = @_;
    return $self->{ports}{$name} //= OpsAuth::Port->take;
}

# %%NAME%% in configurations
sub var {
    my ($self, $name, $value) = @_;
    $self->{vars}{$name} = $value if @_ > 2;
    return $self->{vars}{$name};
}

# A string that must not appear in anything that nginx writes.
sub secret {
    my ($self, @strings) = @_;
    $self->{secrets}{$_} = 1 for grep { length } @strings;
}

# a directory of the harness, outside what is searched for secrets
sub _own_dir {
    my ($self, $kind) = @_;
    my $n = ++$self->{count}{$kind};
    return "$self->{dir}/$kind" . ($n > 1 ? $n : '');
}

sub _add {
    my ($self, $kind, $object, $name, $value) = @_;
    push @{$self->{$kind}}, $object;
    $self->var($name, $value);
    $self->note("$kind: $name is $value");
    return $object;
}

# A real Redis; options of OpsAuth::Redis. name => 'REPLICA' for %%REPLICA%%
# instead of %%REDIS%%, the url.
sub redis {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'REDIS';
    $self->secret($o{password}) if defined $o{password};
    my $redis = OpsAuth::Redis->new(dir => $self->_own_dir('redis'), %o);
    return $self->_add(servers => $redis, $name, $redis->url);
}

# A scripted Redis; options of OpsAuth::FakeRedis.
sub fake_redis {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'REDIS';
    my $fake = OpsAuth::FakeRedis->new(dir => $self->_own_dir('fake'), %o);
    return $self->_add(servers => $fake, $name, $fake->url);
}

# Certificates; options of OpsAuth::Certificates. %%CA%% is the CA's.
sub certificates {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'CA';
    my $pki = OpsAuth::Certificates->new(dir => $self->_own_dir('pki'), %o);
    return $self->_add(pki => $pki, $name, $pki->ca);
}

# A TCP proxy; options of OpsAuth::Proxy. %%PROXY%% is address:port
sub proxy {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'PROXY';
    my $proxy = OpsAuth::Proxy->new(dir => $self->_own_dir('proxy'), %o);
    return $self->_add(servers => $proxy, $name, $proxy->address);
}

# The echo backend; %%UPSTREAM%% is address:port
sub upstream {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'UPSTREAM';
    my $upstream = OpsAuth::Upstream->new(dir => $self->_own_dir('upstream'), %o);
    return $self->_add(servers => $upstream, $name, $upstream->address);
}

# A scripted authorization server; %%AS%% is address:port
sub auth_server {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'AS';
    my $server = OpsAuth::AuthServer->new(dir => $self->_own_dir('as'), %o);
    return $self->_add(servers => $server, $name, $server->address);
}

# A name server; %%DNS%% is address:port
sub dns {
    my ($self, %o) = @_;
    my $dns = OpsAuth::DNS->new(dir => $self->_own_dir('dns'), %o);
    return $self->_add(servers => $dns, DNS => $dns->address);
}

# Records with a pepper file (%%PEPPER%%) and the marker. redis => an object of
# redis() or fake_redis(); one is started if there is none. marker => 0.
sub store {
    my ($self, %o) = @_;
    my $name = delete $o{name} // 'PEPPER';
    my $marker = delete $o{marker} // 1;
    $o{redis} //= (grep { $_->can('cmd') } @{$self->{servers}})[-1] // $self->redis;
    my $file = $self->_own_path("$self->{nginx}{dir}/" . lc $name);
    my $store = OpsAuth::Store->new(file => $file, secret => sub { $self->secret(@_) }, %o);
    $store->marker if $marker;
    return $self->_add(stores => $store, $name, $file);
}

# marks a file as the test's own: not searched for secrets
sub _own_path {
    my ($self, $path) = @_;
    $self->{own}{$path} = 1;
    return $path;
}

# writes a file into %%TESTDIR%%; returns its path
sub write_file {
    my ($self, $name, $content, $mode) = @_;
    my $path = $self->_own_path("$self->{nginx}{dir}/$name");
    File::Path::make_path(dirname($path));
    open my $fh, '>:raw', $path or die "$path: $!";
    print {$fh} $content;
    close $fh or die "$path: $!";
    chmod $mode, $path if defined $mode;
    return $path;
}

sub read_file {
    my ($self, $name) = @_;
    return OpsAuth::Nginx::_read("$self->{nginx}{dir}/$name", 0);
}

# What a file in %%TESTDIR%% contains from an offset on, as soon as that matches;
# '' if it never does. nginx writes an access log after the client has its answer.
sub wait_for_file {
    my ($self, $name, $pattern, %o) = @_;
    my $text;
    return OpsAuth::Process->poll($o{timeout} // 5, sub {
        $text = OpsAuth::Nginx::_read("$self->{nginx}{dir}/$name", $o{since} // 0);
        return $text =~ $pattern;
    }) ? $text : '';
}

# --- nginx --------------------------------------------------------------------------

sub _substitute {
    my ($self, $name) = @_;
    return $self->port($1) if $name =~ /^PORT_(\w+)$/;
    return $self->{vars}{$name} // die "nothing is known for %%$name%%; start it first\n";
}

# a complete configuration around what stands in http { }
sub http_text {
    my ($self, $http) = @_;
    return "%%TEST_GLOBALS%%\n\n%%TEST_EVENTS%%\n\n"
        . "http {\n    %%TEST_GLOBALS_HTTP%%\n\n$http\n}\n";
}

sub config {
    my ($self, $text) = @_;
    $self->{nginx}->config($text, sub { $self->_substitute(@_) });
    return $self;
}

sub config_http { my ($self, $http) = @_; return $self->config($self->http_text($http)) }

# nginx -t: (exit status, output)
sub nginx_t {
    my ($self, $text) = @_;
    return $self->{nginx}->test_config($text, sub { $self->_substitute(@_) });
}

# what nginx -t says about the contents of http { }; '' if it is content
sub config_error {
    my ($self, $http) = @_;
    my ($exit, $output) = $self->nginx_t($self->http_text($http));
    return $exit == 0 ? '' : $output || "exit $exit";
}

# as they are in OpsAuth::Nginx
for my $method (qw(start reload quit stop workers children running pid kill9_worker
                   log log_since mark wait_for_log)) {
    no strict 'refs';
    *$method = sub { my $self = shift; return $self->{nginx}->$method(@_) };
}

sub nginx    { $_[0]{nginx} }
sub fd_count { my ($self, $pid) = @_; OpsAuth::Process->fd_count($pid // ($self->workers)[0]) }

# what a worker's descriptors (all workers' without a pid) come to, once they
# have stayed the same for a second: a feed or a client may be on its way
sub settled_fds {
    my ($self, $pid) = @_;
    my ($last, $same) = (-1, 0);
    for (1 .. 100) {
        my $now = 0;
        $now += $self->fd_count($_) // 0 for $pid // $self->workers;
        $same = $now == $last ? $same + 1 : 0;
        $last = $now;
        last if $same == 10;
        Time::HiRes::sleep(0.1);
    }
    return $last;
}
sub rss      { my ($self, $pid) = @_; OpsAuth::Process->rss($pid // ($self->workers)[0]) }

# --- requests: all to %%PORT_8080%% unless port => NAME is given ----------------------

sub request {
    my ($self, $method, $uri, %o) = @_;
    return OpsAuth::HTTP::request($self->port($o{port} // 8080), $method, $uri, %o);
}

sub get { my ($self, $uri, %o) = @_; return $self->request('GET', $uri, %o) }

sub connect {
    my ($self, %o) = @_;
    return OpsAuth::HTTP::Connection->new($self->port($o{port} // 8080), %o);
}

# n equal requests at the same time
sub parallel {
    my ($self, $n, $method, $uri, %o) = @_;
    return OpsAuth::HTTP::parallel($n, $self->port($o{port} // 8080), $method, $uri, %o);
}

# load in the background until ->stop; options of OpsAuth::Load
sub load {
    my ($self, %o) = @_;
    my $load = OpsAuth::Load->new(dir => $self->_own_dir('load'), %o,
        port => $self->port($o{port} // 8080));
    push @{$self->{servers}}, $load;
    return $load;
}

# --- the end ------------------------------------------------------------------------

# lines that are expected in the log, although they are alerts
sub allow_log {
    my ($self, @patterns) = @_;
    push @{$self->{allow}}, @patterns;
}

# a quit that takes long is expected, as something still holds requests
sub allow_slow_quit { $_[0]{allow_slow_quit} = 1 }

# Stops everything, makes the assertions of every test, and closes the plan.
sub done {
    my ($self) = @_;
    $self->finish;
    Test::More::done_testing();
}

# as done(), for a file with several test objects
sub finish {
    my ($self) = @_;
    my $nginx = $self->{nginx};
    my $status = $nginx->quit(OpsAuth::Nginx::SLOW ? 60 : 10);
    $_->stop for @{$self->{servers}};

    my $log = $nginx->log;
    my $all = join "\n", map { OpsAuth::Nginx::_read($_) }
        glob "$nginx->{dir}/*.log $nginx->{dir}/*.stderr";
    my @allowed = (@{$self->{allow}}, @{$nginx->{allow_exit}});

    $self->_none('no alert in the log', OpsAuth::Check::fault_lines($log, @allowed));
    $self->_none('no worker died', OpsAuth::Check::bad_exits($log, @allowed));
    $self->_none('no sanitizer report', OpsAuth::Check::sanitizer_reports($all));
    $self->_none('no secret in what nginx wrote',
        OpsAuth::Check::leaks([$self->written_files], [keys %{$self->{secrets}}]));
    my @slow = $self->{allow_slow_quit} ? () : @{$nginx->{slow}};
    $self->_none('nginx ended when told to', (map { "not after $_" } @slow),
        defined $status && $status ? "wait status $status" : ());

    $self->_catlog if $ENV{TEST_NGINX_CATLOG};
    $self->{finished} = 1;
    $self->_remove;
}

sub _none {
    my ($self, $name, @found) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 2;
    Test::More::ok(!@found, $name) and return;
    my $more = @found - 20;
    splice @found, 20 if $more > 0;
    Test::More::diag($_) for @found, $more > 0 ? "and $more more" : ();
}

# what nginx wrote, as opposed to the test's own files
sub written_files {
    my ($self) = @_;
    return OpsAuth::Check::files_below($self->{nginx}{dir},
        sub { $self->{own}{$_[0]} || $_[0] =~ /\.conf$/ });
}

sub _catlog {
    my ($self) = @_;
    Test::More::diag($_) for split /\n/, $self->{nginx}->log;
}

sub _remove {
    my ($self) = @_;
    my $dir = delete $self->{dir} or return;
    if ($ENV{TEST_NGINX_LEAVE}) {
        Test::More::diag("left: $dir");
        return;
    }
    File::Path::remove_tree($dir, { safe => 0, error => \my $errors });
    Test::More::diag("cannot remove $dir") if -d $dir;
}

END {
    if ($$ == $OWNER) {
        local ($?, $!, $@);
        alarm 0;
        # reached by a test that died: done() has not run
        for my $t (grep { !$_->{finished} } @ALL) {
            eval { $t->{nginx}->stop(5) };
            OpsAuth::Process::stop_all();
            $t->_catlog if $ENV{TEST_NGINX_CATLOG};
            $t->_remove;
        }
    }
}

1;
