# The daemon behind OpsAuth::FakeRedis: one select loop over its clients and the
# socket on which the test gives orders.

package OpsAuth::FakeRedis::Server;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Socket qw(SOL_SOCKET SO_LINGER IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

use OpsAuth::RESP;

my $JSON = JSON::PP->new->latin1->canonical->allow_nonref;

sub new {
    my ($class, %o) = @_;
    my $self = bless {
        clients => {}, number => 0, hashes => {}, strings => {}, sets => {},
        readers => IO::Select->new, writers => IO::Select->new, %o,
    }, $class;
    open $self->{log_handle}, '>>', $self->{log} or die "$self->{log}: $!";
    $self->_listen;
    return $self;
}

sub handles { my ($self) = @_; return @$self{qw(listen control log_handle)} }

sub leave {
    my ($self) = @_;
    $self->{readers}->remove($self->{listen});
    close delete $self->{$_} for qw(listen log_handle);
}

sub _listen {
    my ($self) = @_;
    return if $self->{listen};
    my $address = $self->{address};
    unlink $address if $address =~ m{^/};
    my $socket = $address =~ m{^/}
        ? IO::Socket::UNIX->new(Local => $address, Listen => 512)
        : IO::Socket::INET->new(LocalAddr => $address, Listen => 512, ReuseAddr => 1);
    die "fake redis: $address: $!\n" unless $socket;
    $socket->blocking(0);
    $self->{readers}->add($self->{listen} = $socket);
}

sub run {
    my ($self) = @_;
    my $control = $self->{control};
    $self->{readers}->add($control);
    my $orders = '';
    while (1) {
        my $now = time;
        my $wait;
        for my $client (values %{$self->{clients}}) {
            my $due = $self->_flush($client, $now);
            $wait = $due if defined $due && (!defined $wait || $due < $wait);
        }
        my ($r, $w) = IO::Select->select($self->{readers}, $self->{writers}, undef, $wait);
        for my $socket (@{$r // []}) {
            if ($socket == $control) {
                # the test's end is ours
                sysread $control, $orders, 65_536, length $orders or return;
                while ($orders =~ s/^(.*)\n//) {
                    my $answer = $self->_order($JSON->decode($1));
                    syswrite $control, $JSON->encode($answer) . "\n";
                }
            }
            elsif ($self->{listen} && $socket == $self->{listen}) {
                $self->_accept;
            }
            elsif (my $client = $self->{clients}{fileno($socket) // -1}) {
                $self->_read($client);
            }
        }
        # writers need nothing here: _flush tries them all again
    }
}

# --- connections ----------------------------------------------------------------------

sub _record {
    my ($self, %event) = @_;
    syswrite $self->{log_handle}, $JSON->encode({ time => time, %event }) . "\n";
}

sub _accept {
    my ($self) = @_;
    while (my $socket = $self->{listen}->accept) {
        $socket->blocking(0);
        setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1 unless $self->{address} =~ m{^/};
        my $client = {
            socket => $socket, number => ++$self->{number}, in => '', queue => [],
            tracks => undef, subscribed => 0,
        };
        $self->{clients}{fileno $socket} = $client;
        $self->{readers}->add($socket);
        $self->_record(event => 'open', connection => $client->{number});
        my $action = $self->_take('ACCEPT');
        $self->_act($client, $action, '') if defined $action && $action ne 'default';
    }
}

sub _close {
    my ($self, $client, $rst) = @_;
    my $socket = delete $client->{socket} or return;
    $self->{readers}->remove($socket);
    $self->{writers}->remove($socket);
    delete $self->{clients}{fileno $socket};
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if $rst;
    close $socket;
    $self->_record(event => 'close', connection => $client->{number});
}

sub _read {
    my ($self, $client) = @_;
    my $n = sysread $client->{socket}, $client->{in}, 65_536, length $client->{in};
    return if !defined $n && $!{EAGAIN};
    return $self->_close($client) unless $n;
    while ($client->{socket}) {
        my ($words) = eval { OpsAuth::RESP::decode(\$client->{in}) };
        if ($@) {
            $self->_record(event => 'garbage', connection => $client->{number}, text => "$@");
            return $self->_close($client);
        }
        last unless $words;
        $self->_record(connection => $client->{number}, words => $words);
        next if $client->{silent};
        my $action = $self->_match(@$words)
            // ($self->{handler} && $self->{handler}->($client->{number}, @$words))
            // 'default';
        # the default reply is always worked out, for what it changes
        my $ignored = ref $action eq 'HASH' && $action->{ignore};
        $self->_act($client, $action, $ignored ? '' : $self->_execute($client, @$words));
    }
}

# --- script ---------------------------------------------------------------------------

# the action for a key of the script, used up if it comes from a list
sub _take {
    my ($self, $key) = @_;
    my $entry = $self->{script}{$key};
    return $entry unless ref $entry eq 'ARRAY';
    my $action = shift @$entry;
    delete $self->{script}{$key} unless @$entry;
    return $action;
}

sub _match {
    my ($self, @words) = @_;
    my $command = uc $words[0];
    my $first = $words[1] // '';
    my @globs = sort { length $b <=> length $a } grep { /^\Q$command\E .*\*$/i } keys %{$self->{script}};
    my ($exact) = grep { lc $_ eq lc "$command $first" } keys %{$self->{script}};
    my ($glob) = grep { index(lc "$command $first", lc substr $_, 0, -1) == 0 } @globs;
    for my $key ($exact, $glob, $command, '*') {
        next unless defined $key && exists $self->{script}{$key};
        return $self->_take($key);
    }
    return;
}

# Does what an action says; $default is the reply of a server that behaves.
sub _act {
    my ($self, $client, $action, $default) = @_;
    if (!ref $action) {
        my %words = (
            default => {}, ok => { status => 'OK' }, nil => { nil => 1 },
            silence => { raw => '', then => 'silence' }, close => { raw => '', then => 'close' },
            rst => { raw => '', then => 'rst' }, deaf => { raw => '', then => 'deaf' },
        );
        $action = $words{$action} // ($action =~ /^[-+:\$*]/
            ? { raw => $action =~ /\r\n\z/ ? $action : "$action\r\n" }
            : { error => "ERR test: no action '$action'" });
    }
    my %a = %$action;
    # one command without an answer is not a connection that fell silent
    if (exists $a{raw} && $a{raw} eq '' && ($a{then} // '') eq 'silence') {
        $client->{silent} = 1 if $default eq '';            # ACCEPT
        return;
    }

    my $bytes = exists $a{raw} ? $a{raw}
        : exists $a{error}   ? "-$a{error}\r\n"
        : exists $a{status}  ? "+$a{status}\r\n"
        : exists $a{integer} ? ":$a{integer}\r\n"
        : exists $a{bulk}    ? OpsAuth::RESP::reply($a{bulk})
        : exists $a{array}   ? OpsAuth::RESP::reply($a{array})
        : exists $a{nil}     ? "\$-1\r\n"
        :                      $default;
    $bytes x= 2 if $a{twice};
    $bytes = ($a{prepend} // '') . $bytes . ($a{append} // '');
    if (defined $a{cut}) {
        $bytes = substr $bytes, 0, $a{cut};
        $a{then} //= 'close';
    }
    if ($a{batch}) {
        push @{$client->{batch}}, $bytes;
        return if @{$client->{batch}} < $a{batch};
        $bytes = join '', @{delete $client->{batch}};
    }

    my @pieces = ($bytes);
    if ($a{chop}) {
        @pieces = unpack "(a$a{chop})*", $bytes;
    }
    elsif ($a{split}) {
        my @at = (0, ref $a{split} ? @{$a{split}} : $a{split}, length $bytes);
        @pieces = map { substr $bytes, $at[$_], $at[$_ + 1] - $at[$_] } 0 .. $#at - 1;
    }
    @pieces = ('') unless @pieces;
    for my $i (0 .. $#pieces) {
        push @{$client->{queue}}, {
            bytes => $pieces[$i],
            at    => $i == 0 ? time + ($a{delay} // 0) / 1000 : 0,
            gap   => $i == 0 ? 0 : ($a{pause} // 1) / 1000,
            held  => $i == 0 && $a{hold},
            then  => $i == $#pieces ? $a{then} : undef,
        };
    }
    $self->_flush($client, time);
}

# Sends what may leave now, in order. Returns the seconds until the next piece.
sub _flush {
    my ($self, $client, $now) = @_;
    while ($client->{socket} && (my $piece = $client->{queue}[0])) {
        return if $piece->{held};
        if ($piece->{gap}) {
            $piece->{at} = $now + delete $piece->{gap};
        }
        return $piece->{at} - $now if $piece->{at} > $now;

        while (length $piece->{bytes}) {
            my $n = syswrite $client->{socket}, $piece->{bytes};
            if (!defined $n) {
                if ($!{EAGAIN}) { $self->{writers}->add($client->{socket}) }
                else            { $self->_close($client) }
                return;
            }
            substr $piece->{bytes}, 0, $n, '';
        }
        $self->{writers}->remove($client->{socket});
        shift @{$client->{queue}};
        my $then = $piece->{then} // next;
        if ($then eq 'silence') {
            $client->{silent} = 1;
        }
        elsif ($then eq 'deaf') {
            $self->{readers}->remove($client->{socket});
        }
        else {
            $self->_close($client, $then eq 'rst');
        }
    }
    return;
}

# --- orders of the test ---------------------------------------------------------------

sub _order {
    my ($self, $order) = @_;
    my $do = $order->{do};
    my @clients = values %{$self->{clients}};
    @clients = grep { $_->{number} == $order->{connection} } @clients
        if defined $order->{connection};

    if ($do eq 'script') {
        for my $key (keys %{$order->{script}}) {
            my $action = $order->{script}{$key};
            if (defined $action) { $self->{script}{$key} = $action }
            else                 { delete $self->{script}{$key} }
        }
    }
    elsif ($do eq 'behave')  { $self->{script} = {} }
    elsif ($do eq 'cmd')     { return $self->_execute(undef, @{$order->{words}}) }
    elsif ($do eq 'held')    { return scalar grep { $_->{held} } map { @{$_->{queue}} } @clients }
    elsif ($do eq 'release') {
        for my $client (@clients) {
            delete $_->{held} for @{$client->{queue}};
            $self->_flush($client, time);
        }
    }
    elsif ($do eq 'push') {
        $self->_act($_, { raw => $order->{bytes} }, '') for @clients;
        return scalar @clients;
    }
    elsif ($do eq 'invalidate') { return $self->_invalidate(@{$order->{names}}) }
    elsif ($do eq 'drop') {
        $self->_close($_, $order->{rst}) for @clients;
        return scalar @clients;
    }
    elsif ($do eq 'refuse') {
        if (my $listen = delete $self->{listen}) {
            $self->{readers}->remove($listen);
            close $listen;
        }
    }
    elsif ($do eq 'listen') { $self->_listen }
    return 1;
}

sub _invalidate {
    my ($self, @names) = @_;
    my $n = 0;
    for my $client (grep { $_->{tracks} && $_->{subscribed} } values %{$self->{clients}}) {
        my @own = grep {
            my $name = $_;
            !@{$client->{tracks}} || grep { index($name, $_) == 0 } @{$client->{tracks}};
        } @names;
        next if @names && !@own;
        my $payload = @names ? OpsAuth::RESP::reply(\@own) : "*-1\r\n";
        $self->_act($client, { raw => "*3\r\n" . OpsAuth::RESP::reply('message')
            . OpsAuth::RESP::reply('__redis__:invalidate') . $payload }, '');
        $n++;
    }
    return $n;
}

# --- a server that behaves ------------------------------------------------------------

# the reply's bytes; $client is undef for the test's own commands
sub _execute {
    my ($self, $client, @words) = @_;
    my ($command, @args) = @words;
    my $method = $self->can('_cmd_' . lc($command) =~ tr/-/_/r);
    return "-ERR unknown command '$command'\r\n" unless $method;
    my $reply = OpsAuth::RESP::reply($method->($self, $client, @args));
    # told at or before the writer's own answer, as Redis does
    if ($command =~ /^(?:hset|hdel|set|del)$/i) {
        $self->_invalidate($command =~ /^del$/i ? @args : $args[0]);
    }
    elsif ($command =~ /^flush/i) {
        $self->_invalidate;
    }
    return $reply;
}

sub _ok { return { status => 'OK' } }

*_cmd_auth = *_cmd_select = *_cmd_expire = *_cmd_config = \&_ok;

sub _cmd_ping {
    my ($self, $client, @args) = @_;
    return ['pong', $args[0] // ''] if $client && $client->{subscribed};
    return @args ? $args[0] : { status => 'PONG' };
}

sub _cmd_client {
    my ($self, $client, $what, @args) = @_;
    $what = lc $what;
    return \($client->{number}) if $what eq 'id';
    if ($what eq 'tracking') {
        if (lc $args[0] eq 'off') {
            delete $client->{tracks};
        }
        else {
            my @prefixes = map { $args[$_ + 1] } grep { lc $args[$_] eq 'prefix' } 0 .. $#args - 1;
            $client->{tracks} = \@prefixes;
        }
    }
    return _ok();
}

sub _cmd_subscribe {
    my ($self, $client, @channels) = @_;
    return ['subscribe', $channels[0], \(++$client->{subscribed})];
}

sub _cmd_info { return "# Server\r\nredis_version:7.0.0\r\nrun_id:" . 'f' x 40 . "\r\n" }
sub _cmd_role { return ['master', \0, []] }
sub _cmd_time { my $now = time; return [int $now, int 1e6 * ($now - int $now)] }

sub _cmd_hget {
    my ($self, $client, $name, $field) = @_;
    return ($self->{hashes}{$name} // {})->{$field};
}

sub _cmd_hmget {
    my ($self, $client, $name, @fields) = @_;
    return [@{$self->{hashes}{$name} // {}}{@fields}];
}

sub _cmd_hgetall {
    my ($self, $client, $name) = @_;
    my $hash = $self->{hashes}{$name} // {};
    return [map { $_ => $hash->{$_} } sort keys %$hash];
}

sub _cmd_hset {
    my ($self, $client, $name, %fields) = @_;
    @{$self->{hashes}{$name}}{keys %fields} = values %fields;
    return \(scalar keys %fields);
}

sub _cmd_hdel {
    my ($self, $client, $name, @fields) = @_;
    delete @{$self->{hashes}{$name} // {}}{@fields};
    return \(scalar @fields);
}

sub _cmd_get { my ($self, $client, $name) = @_; return $self->{strings}{$name} }

sub _cmd_set {
    my ($self, $client, $name, $value) = @_;
    $self->{strings}{$name} = $value;
    return _ok();
}

sub _cmd_sadd {
    my ($self, $client, $name, @members) = @_;
    $self->{sets}{$name}{$_} = 1 for @members;
    return \(scalar @members);
}

sub _cmd_smembers {
    my ($self, $client, $name) = @_;
    return [sort keys %{$self->{sets}{$name} // {}}];
}

sub _cmd_exists {
    my ($self, $client, @names) = @_;
    return \(scalar grep { $self->_has($_) } @names);
}

sub _cmd_ttl { my ($self, $client, $name) = @_; return \($self->_has($name) ? -1 : -2) }

sub _has {
    my ($self, $name) = @_;
    return scalar grep { exists $self->{$_}{$name} } qw(hashes strings sets);
}

sub _cmd_del {
    my ($self, $client, @names) = @_;
    my $n = grep { $self->_has($_) } @names;
    delete @{$self->{$_}}{@names} for qw(hashes strings sets);
    return \$n;
}

sub _cmd_flushall {
    my ($self) = @_;
    $self->{$_} = {} for qw(hashes strings sets);
    return _ok();
}

sub _cmd_quit { return _ok() }

1;
