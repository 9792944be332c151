# Certificates of a test's own, made by the openssl command: a CA and what it
# signs, in files below one directory.
#
#   my $pki = OpsAuth::Certificates->new(dir => $t->dir . '/pki');
#   my $server = $pki->issue('server', dns => ['redis.test'], ip => ['127.0.0.1']);
#   $t->redis(tls => { %$server, ca => $pki->ca });

package OpsAuth::Certificates;

use strict;
use warnings;

use POSIX ();

# dir (made here); name: of the CA
sub new {
    my ($class, %o) = @_;
    my $self = bless { name => 'Test CA', serial => 1, %o }, $class;
    my $dir = $self->{dir} or die "certificates: no dir";
    mkdir $dir or die "$dir: $!";
    chmod 0755, $dir;
    _write("$dir/ca.cnf", <<"CNF");
[req]
distinguished_name = name
prompt = no
[name]
CN = $self->{name}
[ca]
default_ca = it
[it]
new_certs_dir = $dir
database = $dir/index
serial = $dir/serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CNF
    _write("$dir/index", '');
    _write("$dir/serial", "1000\n");
    $self->_openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30),
        -config => "$dir/ca.cnf", -extensions => 'authority',
        -keyout => "$dir/ca.key", -out => "$dir/ca.pem");
    return $self;
}

# the CA's own certificate
sub ca { "$_[0]{dir}/ca.pem" }

# A key and a certificate for it: { cert => file, key => file }.
# dns, ip   lists of names in it
# from, to  seconds from now (-1 hour, 30 days)
# password  that the key is encrypted with
# authority 1: itself a CA: then ->ca_of($it) signs
# by        what issue() gave for such a one; cert then holds both
sub issue {
    my ($self, $file, %o) = @_;
    my $path = "$self->{dir}/$file";
    my @names = _names(%o);
    my $extensions = $o{authority}
        ? "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
        : "basicConstraints = CA:FALSE\n";
    $extensions .= 'subjectAltName = ' . join(', ', @names) . "\n" if @names;
    _write("$path.cnf", "[leaf]\n$extensions");

    my @secret = defined $o{password} ? (-passout => "pass:$o{password}") : '-nodes';
    $self->_openssl(qw(req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256), @secret,
        -subj => "/CN=" . ($o{cn} // $file), -keyout => "$path.key", -out => "$path.csr");
    chmod 0600, "$path.key";
    my ($cert, $key) = $o{by} ? @{$o{by}}{qw(cert key)} : ($self->ca, "$self->{dir}/ca.key");
    $self->_openssl(qw(ca -batch -notext), -config => "$self->{dir}/ca.cnf",
        -cert => $cert, -keyfile => $key, -extfile => "$path.cnf", -extensions => 'leaf',
        -startdate => _date($o{from} // -3600), -enddate => _date($o{to} // 30 * 86_400),
        -in => "$path.csr", -out => "$path.pem");
    _write("$path.pem", _read("$path.pem") . _read($o{by}{cert})) if $o{by};
    return { cert => "$path.pem", key => "$path.key" };
}

# one that signed itself
sub self_signed {
    my ($self, $file, %o) = @_;
    my $path = "$self->{dir}/$file";
    my @names = _names(%o);
    $self->_openssl(qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30),
        -subj => "/CN=$file",
        @names ? (-addext => 'subjectAltName = ' . join ', ', @names) : (),
        -keyout => "$path.key", -out => "$path.pem");
    chmod 0600, "$path.key";
    return { cert => "$path.pem", key => "$path.key" };
}

sub _names {
    my (%o) = @_;
    return ((map { "DNS:$_" } @{$o{dns} // []}), (map { "IP:$_" } @{$o{ip} // []}));
}

sub _date { return POSIX::strftime('%Y%m%d%H%M%SZ', gmtime(time + $_[0])) }

sub _openssl {
    my ($self, @words) = @_;
    my $log = "$self->{dir}/openssl.log";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>>', $log;
        exec 'openssl', @words or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    die "openssl @words:\n" . _read($log) if $?;
}

sub _write {
    my ($path, $text) = @_;
    open my $fh, '>', $path or die "$path: $!";
    print {$fh} $text;
    close $fh or die "$path: $!";
}

sub _read {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!";
    local $/;
    return scalar <$fh>;
}

1;
