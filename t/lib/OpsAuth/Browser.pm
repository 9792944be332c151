# A real browser: headless Chromium, driven through ChromeDriver by the WebDriver
# protocol (W3C). It reaches loopback alone, whatever a page asks for.
#
#   plan skip_all => OpsAuth::Browser->missing if OpsAuth::Browser->missing;
#   my $browser = OpsAuth::Browser->new(dir => "$dir/browser");
#   $browser->open("http://127.0.0.1:$port/");
#   $browser->find('button[value=allow]')->press("\n");
#   is($browser->url, ...);
#
# Methods die of what the driver refuses, with its message. Environment:
# TEST_CHROMIUM and TEST_CHROMEDRIVER, the programs.

package OpsAuth::Browser;

use strict;
use warnings;

use File::Path ();
use HTTP::Tiny ();
use JSON::PP ();
use MIME::Base64 ();

use OpsAuth::Port;
use OpsAuth::Process;

use constant {
    PATIENCE => 60,                         # seconds for a start of Chromium
    ELEMENT  => 'element-6066-11e4-a52e-4f735466cecf',
};

# keys that have no character of their own (WebDriver, section 17.4.2)
our %KEY = (TAB => "\x{E004}", SHIFT => "\x{E008}", ENTER => "\x{E007}", SPACE => ' ');

my $json = JSON::PP->new->utf8->canonical->allow_nonref;

sub chromium { return $ENV{TEST_CHROMIUM}     // '/usr/bin/chromium' }
sub driver   { return $ENV{TEST_CHROMEDRIVER} // '/usr/bin/chromedriver' }

# why there is no browser to test with; '' if there is one
sub missing {
    for my $program (chromium(), driver()) {
        return "no $program here; on Debian: apt-get install chromium chromium-driver"
            unless -x $program;
    }
    return '';
}

# dir     its own directory, for the profile and the driver's log
# width, height, scale   of the window's inside, in CSS pixels; device pixels each
# dark    the user prefers a dark scheme
# hosts   [names] that lead to 127.0.0.1, as "localhost" does
sub new {
    my ($class, %o) = @_;
    my $self = bless { width => 1280, height => 900, %o }, $class;
    File::Path::make_path("$self->{dir}/profile");
    $self->{port} = OpsAuth::Port->take;
    $self->{http} = HTTP::Tiny->new(timeout => PATIENCE, proxy => undef, http_proxy => undef);
    $self->{pid} = OpsAuth::Process->spawn(
        name    => 'chromedriver',
        command => [driver(), "--port=$self->{port}"],
        env     => { HOME => $self->{dir}, XDG_CONFIG_HOME => $self->{dir},
                     XDG_CACHE_HOME => $self->{dir}, TMPDIR => $self->{dir} },
        stdout  => "$self->{dir}/driver.log",
        stderr  => "$self->{dir}/driver.log",
    );
    # the driver killed, Chromium would stay
    OpsAuth::Process->before_stop_all(sub { $self->stop });
    my $ready = OpsAuth::Process->poll(PATIENCE, sub {
        OpsAuth::Process->running($self->{pid}) or return -1;
        my $r = $self->{http}->get("http://127.0.0.1:$self->{port}/status");
        return $r->{success} && $json->decode($r->{content})->{value}{ready} ? 1 : 0;
    });
    die "chromedriver did not start\n" unless $ready && $ready == 1;
    $self->_session;
    return $self;
}

sub _session {
    my ($self) = @_;
    my @rules = ('MAP * ~NOTFOUND', 'EXCLUDE 127.0.0.1', 'EXCLUDE [::1]', 'EXCLUDE localhost');
    unshift @rules, map { "MAP $_ 127.0.0.1" } @{$self->{hosts} // []};
    my @arguments = (
        '--headless=new', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic',
        '--no-first-run', '--disable-background-networking', '--disable-component-update',
        '--disable-sync', '--disable-default-apps', '--lang=en-US',
        '--host-resolver-rules=' . join(', ', @rules), '--no-proxy-server',
        "--user-data-dir=$self->{dir}/profile",
        '--window-size=1280,900',
        # Chromium's own sandbox does not start for root
        $> == 0 ? '--no-sandbox' : (),
    );
    my $value = $self->_call(POST => '/session', { capabilities => { alwaysMatch => {
        browserName => 'chrome',
        pageLoadStrategy => 'normal',
        'goog:chromeOptions' => { binary => chromium(), args => \@arguments },
        'goog:loggingPrefs'  => { browser => 'ALL' },
        unhandledPromptBehavior => 'dismiss',
    } } });
    $self->{session} = $value->{sessionId};
    $self->size($self->{width}, $self->{height}, $self->{scale});
    $self->dark(1) if $self->{dark};
}

# --- the protocol -----------------------------------------------------------------

sub _call {
    my ($self, $method, $path, $body) = @_;
    my $r = $self->{http}->request($method, "http://127.0.0.1:$self->{port}$path", {
        headers => { 'Content-Type' => 'application/json; charset=utf-8' },
        defined $body ? (content => $json->encode($body)) : (),
    });
    my $value = eval { $json->decode($r->{content})->{value} };
    return $value if $r->{success};
    die 'browser: ' . (ref $value eq 'HASH' ? "$value->{error}: " . ($value->{message} =~ s/\n.*//sr)
        : "$r->{status} $r->{content}") . " ($method $path)\n";
}

sub _do {
    my ($self, $method, $path, $body) = @_;
    return $self->_call($method, "/session/$self->{session}$path",
        $body // ($method eq 'POST' ? {} : undef));
}

# a command of the DevTools protocol
sub devtools {
    my ($self, $command, %parameters) = @_;
    return $self->_do(POST => '/goog/cdp/execute', { cmd => $command, params => \%parameters });
}

# --- window -----------------------------------------------------------------------

# of the page's inside; a phone is 360 by 740 with a scale of 3
sub size {
    my ($self, $width, $height, $scale) = @_;
    $self->devtools('Emulation.setDeviceMetricsOverride', width => $width + 0,
        height => $height + 0, deviceScaleFactor => ($scale // 1) + 0,
        mobile => $width < 600 ? JSON::PP::true : JSON::PP::false);
}

sub dark {
    my ($self, $on) = @_;
    $self->devtools('Emulation.setEmulatedMedia', features =>
        [{ name => 'prefers-color-scheme', value => $on ? 'dark' : 'light' }]);
}

# request headers that every request of the page gets
sub headers {
    my ($self, %headers) = @_;
    $self->devtools('Network.enable');
    $self->devtools('Network.setExtraHTTPHeaders', headers => \%headers);
}

# writes what the window shows, as PNG
sub screenshot {
    my ($self, $path) = @_;
    my $png = MIME::Base64::decode_base64($self->_do(GET => '/screenshot'));
    open my $fh, '>:raw', $path or die "$path: $!";
    print {$fh} $png;
    close $fh or die "$path: $!";
    return $path;
}

# --- pages ------------------------------------------------------------------------

# waits until the page is loaded
sub open {
    my ($self, $url) = @_;
    $self->_do(POST => '/url', { url => $url });
    return $self;
}

sub url    { return $_[0]->_do(GET => '/url') }
sub title  { return $_[0]->_do(GET => '/title') }
sub source { return $_[0]->_do(GET => '/source') }
sub back   { return $_[0]->_do(POST => '/back') }

# the text that can be seen
sub text { return $_[0]->find('body')->text }

# a new window without the state of the others is a new browser; this drops cookies
sub forget { return $_[0]->_do(DELETE => '/cookie') }

sub cookies { return @{$_[0]->_do(GET => '/cookie')} }

# the value of a script's "return ..."; runs also where a page forbids its own scripts
sub script {
    my ($self, $script, @arguments) = @_;
    return $self->_do(POST => '/execute/sync', { script => $script, args => [@arguments] });
}

# what the browser's console has got since it was last asked: violations of a
# policy, failed loads, errors
sub console {
    my ($self) = @_;
    return map { $_->{message} } @{$self->_do(POST => '/se/log', { type => 'browser' })};
}

# waits for the URL to match; returns whether it did
sub wait_for_url {
    my ($self, $pattern, $timeout) = @_;
    return OpsAuth::Process->poll($timeout // 20, sub { $self->url =~ $pattern ? 1 : 0 }) ? 1 : 0;
}

# waits for the text that can be seen to match
sub wait_for_text {
    my ($self, $pattern, $timeout) = @_;
    # an element that the next page replaces meanwhile is no error here
    return OpsAuth::Process->poll($timeout // 20,
        sub { return (eval { $self->text } // '') =~ $pattern ? 1 : 0 }) ? 1 : 0;
}

# --- elements ---------------------------------------------------------------------

sub _element {
    my ($self, $value) = @_;
    return bless { browser => $self, id => $value->{+ELEMENT} }, 'OpsAuth::Browser::Element';
}

# the elements of a CSS selector
sub all {
    my ($self, $selector) = @_;
    return map { $self->_element($_) }
        @{$self->_do(POST => '/elements', { using => 'css selector', value => $selector })};
}

# the first one; dies where there is none
sub find {
    my ($self, $selector) = @_;
    return $self->_element($self->_do(POST => '/element',
        { using => 'css selector', value => $selector }));
}

# the one that has the focus
sub active { return $_[0]->_element($_[0]->_do(GET => '/element/active')) }

# Keys pressed one after the other, wherever the focus is; names of %KEY or
# characters. [keys] are held down together.
sub keys {
    my ($self, @keys) = @_;
    my @actions;
    for my $key (@keys) {
        my @down = map { $KEY{$_} // $_ } ref $key ? @$key : $key;
        push @actions, map { { type => 'keyDown', value => $_ } } @down;
        push @actions, map { { type => 'keyUp',   value => $_ } } reverse @down;
    }
    $self->_do(POST => '/actions',
        { actions => [{ type => 'key', id => 'keyboard', actions => \@actions }] });
}

# --- the end ----------------------------------------------------------------------

# closes the browser, then the driver
sub stop {
    my ($self) = @_;
    my $session = delete $self->{session};
    eval { $self->_call(DELETE => "/session/$session") } if defined $session;
    my $pid = delete $self->{pid} or return;
    OpsAuth::Process->stop($pid, 'TERM', 10);
}

package OpsAuth::Browser::Element;

sub _do {
    my ($self, $method, $path, $body) = @_;
    return $self->{browser}->_do($method, "/element/$self->{id}$path", $body);
}

sub text      { return $_[0]->_do(GET => '/text') }
sub tag       { return $_[0]->_do(GET => '/name') }
sub rect      { return $_[0]->_do(GET => '/rect') }
sub visible   { return $_[0]->_do(GET => '/displayed') ? 1 : 0 }
sub click     { return $_[0]->_do(POST => '/click') }
sub attribute { my ($self, $name) = @_; return $self->_do(GET => "/attribute/$name") }
sub css       { my ($self, $name) = @_; return $self->_do(GET => "/css/$name") }

# what assistive technology is told
sub role  { return $_[0]->_do(GET => '/computedrole') }
sub label { return $_[0]->_do(GET => '/computedlabel') }

1;
