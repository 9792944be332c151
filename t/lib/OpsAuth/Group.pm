# What OpsAuth::Sentinel and OpsAuth::Cluster have in common: a gateway before the
# group, with records in it, and how it is asked.
#
#   my ($t, $cluster, $store, @keys) = OpsAuth::Cluster->gateway(extra => 'stale off;');
#   $t->start;
#   is(settles($t, $keys[0], 204), 204, 'served');

package OpsAuth::Group;

use strict;
use warnings;

use Exporter qw(import);
use Time::HiRes qw(sleep);

use OpsAuth::Process;
use OpsAuth::Test;

our @EXPORT_OK = qw($LEASE status cache settles covered documented);

# of such a gateway, in seconds
our $LEASE = 0.5 * OpsAuth::Process::PACE;

my $CONF = <<'CONF';
    %%HTTP%%
    opsauth_store main {
        redis %%GROUP%%; pepper_file %%PEPPER%%; %%EXTRA%%
        lease %%LEASE%%; %%TIMEOUT%% cache_negative 100ms;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        location / {
            opsauth main;
            add_header X-Cache $opsauth_cache always;
            add_header X-Reason $opsauth_reason always;
            add_header X-Worker $pid always;
            try_files /none =204;
        }
    }
CONF

# A test with a group, an account with keys in it, and a gateway that is
# configured, but not started.
# workers  of nginx (2)
# keys     how many (3)
# group    options of the group's new()
# tls      1: everything speaks TLS; the CA is $group->{pki}'s
# url      what `redis` says, extra: lines of the store, http: of http; text, or
#          a function of ($t, $group)
# lease    $LEASE
# timeout  of commands and connections (250ms, as it comes)
sub gateway {
    my ($class, %o) = @_;
    my $t = OpsAuth::Test->new(workers => $o{workers} // 2);
    my $pki = $o{tls} ? $t->certificates : undef;
    my $group = $class->new(test => $t, %{$o{group} // {}}, $pki ? $class->over_tls($pki) : (), pki => $pki);
    my $store = $t->store(redis => $group->writable);
    my @keys = map { $store->key } 1 .. $o{keys} // 3;
    $store->account('crm');
    $store->credential($_, account => 'crm') for @keys;
    $group->synced;
    # of http first: the store's may need what it starts
    for my $name (qw(http url extra)) {
        my $value = $o{$name} // ($name eq 'url' ? $group->url : '');
        $t->var({ http => 'HTTP', url => 'GROUP', extra => 'EXTRA' }->{$name} => ref $value ? $value->($t, $group) : $value);
    }
    $t->config_http(conf($t, %o));
    return ($t, $group, $store, @keys);
}

# the configuration alone, for a test that sets GROUP and PEPPER itself
sub conf {
    my ($t, %o) = @_;
    for my $name (qw(HTTP EXTRA)) { $t->var($name => '') unless defined $t->var($name) }
    $t->var(LEASE => $o{lease} // $LEASE * 1000 . 'ms');
    my $timeout = $o{timeout} // 250 * OpsAuth::Process::PACE . 'ms';
    $t->var(TIMEOUT => "redis_timeout $timeout; redis_connect_timeout $timeout;");
    return $CONF;
}

sub status { my ($t, $key) = @_; return $t->get('/', key => $key)->status }
sub cache  { my ($t, $key) = @_; return $t->get('/', key => $key)->header('X-Cache') }

# so many in a row; returns the status, or the last other one
sub settles {
    my ($t, $key, $status) = @_;
    my ($n, $last) = (0, '');
    OpsAuth::Process->poll(40, sub {
        $last = status($t, $key);
        $n = $last == $status ? $n + 1 : 0;
        return $n >= 12;
    });
    return $n >= 12 ? $status : $last;
}

# each is covered by a feed: what was read before is served from the cache
sub covered {
    my ($t, @keys) = @_;
    return OpsAuth::Process->poll(20, sub {
        status($t, $_) for @keys;
        sleep $LEASE + 0.2;
        return !grep { cache($t, $_) ne 'hit' } @keys;
    });
}

# what docs/redis.md has behind this: rights of a user, that the test gives it
# them and no more
sub documented {
    my ($pattern) = @_;
    open my $fh, '<', OpsAuth::Test->root . '/docs/redis.md' or die "docs/redis.md: $!";
    local $/;
    my ($rights) = <$fh> =~ /^ *$pattern *(\S.*)$/m or die "no $pattern in docs/redis.md";
    return $rights;
}

1;
