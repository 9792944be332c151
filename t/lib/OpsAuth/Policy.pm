# The truth table of t/unit/policy.txt, as a configuration and records: each kind
# of place is a server of its own, each row a key of an account of its own.
#
#   my $policy = OpsAuth::Policy->new($t);
#   $t->redis; my $store = $t->store; $t->upstream;
#   $t->config_http($policy->http);
#   $t->start;
#   for my $row ($policy->rows) {
#       my $key = $policy->issue($store, $row);
#       my $r = $policy->request($row, $key);
#   }

package OpsAuth::Policy;

use strict;
use warnings;

my @FIELDS = qw(env admits state expires enabled account_ips credential_ips address roles scopes
    rules method uri admin reason);

sub new {
    my ($class, $t) = @_;
    my $self = bless { t => $t, rows => [], skipped => [], places => {} }, $class;
    my (%rules, @rows);
    open my $fh, '<', $t->root . '/t/unit/policy.txt' or die "policy.txt: $!";
    while (my $line = <$fh>) {
        chomp $line;
        next if $line =~ /^\s*(#|$)/;
        if ($line =~ /^\s*rule\s+(\S+)\s+(.*?)\s*$/) {
            push @{$rules{$1}}, $2;
            next;
        }
        my @values = map { s/^\s+|\s+$//gr } split /;/, $line, -1;
        die "policy.txt line $.: fields\n" if @values != @FIELDS;
        my %row = (line => $.);
        @row{@FIELDS} = map { $_ eq '-' ? '' : $_ } @values;
        $row{name} = "line $row{line}: $row{reason}";
        push @rows, \%row;
    }
    $self->_place($_, $rules{$_->{rules}}) for @rows;
    # nginx refuses these methods and paths before any module sees them
    push @{$self->{$_->{method} =~ /^(TRACE|CONNECT)$/ || $_->{uri} !~ m{^/} ? 'skipped' : 'rows'}}, $_
        for @rows;
    return $self;
}

sub _place {
    my ($self, $row, $rules) = @_;
    die "line $row->{line}: no rules \"$row->{rules}\"\n" if length $row->{rules} && !$rules;
    my $lines = join ' ', map { "opsauth_require $_;" } @{$rules // []};
    $lines .= " opsauth_environment $row->{admits};";
    $lines .= " opsauth_admin $row->{admin};" unless $row->{admin} eq 'default';
    $row->{place} = $self->{places}{$lines} //= 'place' . keys %{$self->{places}};
}

sub rows    { @{$_[0]{rows}} }
sub skipped { @{$_[0]{skipped}} }
sub places  { scalar keys %{$_[0]{places}} }

sub http {
    my ($self) = @_;
    my $places = $self->{places};
    my $servers = join "\n", map { <<"CONF" } sort keys %$places;
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        listen unix:%%TESTDIR%%/nginx.sock;
        server_name $places->{$_};
        $_
        location / { proxy_pass http://%%UPSTREAM%%; }
    }
CONF
    return <<"CONF";
    server_names_hash_max_size 4096;
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; redis_timeout 2s; }
    opsauth main;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Client;
    add_header X-Reason \$opsauth_reason always;
$servers
CONF
}

# of an expiry "now" and before, this second is the last that could be right
my %expires = (never => sub { 0 }, now => sub { int time });

# records of this row; returns the key
sub issue {
    my ($self, $store, $row) = @_;
    my $account = $store->account("row$row->{line}", enabled => $row->{enabled},
        roles => $row->{roles}, ips => $row->{account_ips});
    my $expires = $expires{$row->{expires}} // sub { int(time) + $row->{expires} };
    return $store->issue(account => $account, environment => $row->{env}, state => $row->{state},
        expires => $expires->(), scopes => $row->{scopes}, ips => $row->{credential_ips});
}

# what the running gateway answers
sub request {
    my ($self, $row, $key) = @_;
    my $t = $self->{t};
    return $t->request($row->{method}, $row->{uri}, key => $key, host => $row->{place},
        $row->{address} eq 'unix:' ? (unix => $t->dir . '/nginx.sock') : (headers => ['X-Client' => $row->{address}]));
}

1;
