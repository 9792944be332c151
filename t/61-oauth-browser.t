#!/usr/bin/perl

# The consent page in a real browser: what is seen, what assistive technology is
# told, by keyboard alone, and that its policy lets the answer through to where
# the client wants it.

use strict;
use warnings;

use Test::More;

use OpsAuth::Browser;
use OpsAuth::Test;

plan skip_all => OpsAuth::Browser->missing if OpsAuth::Browser->missing;

use constant CHALLENGE => 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

my $t = OpsAuth::Test->new;
my $redis = $t->redis;
my $store = $t->store;
$t->write_file('users', "alice:{PLAIN}wonderland\n");

# the gateway, and on ports of their own two sites of the client's and one that
# shows what it was asked for
$t->config_http(<<'CONF');
    opsauth_store main { redis %%REDIS%%; pepper_file %%PEPPER%%; key_prefix op365_sk_live_; redis_timeout 2s; }
    default_type text/html;
    server {
        listen 127.0.0.1:%%PORT_8080%%;
        opsauth_oauth_issuer http://127.0.0.1:%%PORT_8080%%;
        auth_basic "who are you";
        auth_basic_user_file %%TESTDIR%%/users;
        location = /oauth/authorize { opsauth_oauth authorize main; opsauth_oauth_subject $remote_user; }
    }
    server {
        listen 127.0.0.1:%%PORT_8081%%;
        add_header Referrer-Policy no-referrer;
        location = /favicon.ico { return 204; }
        location = /cb { return 200 "<title>back</title><p>back at the application"; }
        location = /onward { return 302 http://localhost:%%PORT_8082%%/home?$args; }
        location = /frame { return 200 '<iframe src="http://127.0.0.1:%%PORT_8080%%/oauth/authorize?$args" width="400" height="400"></iframe>'; }
        location = /forge {
            return 200 '<form method="post" action="http://127.0.0.1:%%PORT_8080%%/oauth/authorize">
                <input name="response_type" value="code"><input name="client_id" value="app"><input name="decision" value="allow">
                <input name="code_challenge" value="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"><input name="code_challenge_method" value="S256">
                <input name="redirect_uri" value="http://127.0.0.1:%%PORT_8081%%/cb"><button>go</button></form>';
        }
    }
    server {
        listen 127.0.0.1:%%PORT_8082%%;
        add_header Referrer-Policy no-referrer;
        location = /favicon.ico { return 204; }
        location = /home { return 200 "<title>home</title>"; }
    }
CONF
$t->start;

my ($gateway, $app, $home) = map { $t->port($_) } 8080, 8081, 8082;
$store->account('acme', name => 'ACME Ltd');
my %clients = (
    app    => { name => 'Reports', redirect_uris => 'http://127.0.0.1/cb', scopes => 'read:tenants write:tenants' },
    onward => { name => 'Onward',  redirect_uris => 'http://127.0.0.1/onward', scopes => 'read:tenants' },
    long   => { name => 'Quarterly reporting and reconciliation of all licence assignments ' . 'x' x 60,
                redirect_uris => 'http://127.0.0.1/cb', scopes => join ' ', 'admin', map { "read:some-rather-long-resource-name-$_" } 1 .. 8 },
    hostile => { name => q{<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>}, redirect_uris => 'http://127.0.0.1/cb',
                scopes => "<script>document.title='owned'</script>" },
);
$store->hash($store->name('client', $_), account => 'acme', grants => 'authorization_code', auth_method => 'none', %{$clients{$_}})
    for keys %clients;

sub page {
    my ($client, %o) = @_;
    my $cb = $client eq 'onward' ? 'onward' : 'cb';
    my $query = "response_type=code&client_id=$client&redirect_uri=http%3A%2F%2F127.0.0.1%3A$app%2F$cb"
        . '&code_challenge=' . CHALLENGE . '&code_challenge_method=S256&state=' . ($o{state} // 'st4te%20%26');
    return $o{query} ? $query : "http://127.0.0.1:$gateway/oauth/authorize?$query";
}

my $browser = OpsAuth::Browser->new(dir => "$t->{dir}/browser");
# the login: Chromium then sends it by itself
$browser->open("http://alice:wonderland\@127.0.0.1:$gateway/oauth/authorize");

# only what Chromium itself complains of; the pages have no icon
sub complaints { return grep { !m{/favicon\.ico} } $browser->console }
$browser->console;

my $shots = $ENV{TEST_SCREENSHOTS};             # a directory to keep pictures in
sub shot { my ($name) = @_; $browser->screenshot("$shots/$name.png") if $shots }

subtest 'what is seen' => sub {
    $browser->open(page('app'));
    is($browser->title, 'Allow access?', 'title');
    my $text = $browser->text;
    like($text, qr/\Q$_\E/, "\"$_\"") for 'Reports asks for access', 'alice', 'ACME Ltd', "127.0.0.1:$app",
        'Read tenants read:tenants', 'Create and change tenants write:tenants';
    my ($allow, $deny) = map { $browser->find("button[value=$_]") } qw(allow deny);
    ok($_->visible, $_->text . ' can be seen') for $allow, $deny;
    is_deeply([map { $_->role . ' ' . $_->label } $allow, $deny], ['button Allow', 'button Deny'], 'two buttons, by name');
    is_deeply([map { $_->tag . ' ' . $_->role } $browser->all('main, h1, h2')], ['main main', 'h1 heading', 'h2 heading'], 'one heading above the other');
    is($browser->find('ul')->label, 'It will be able to', 'the list says what it lists');
    is($browser->find('html')->attribute('lang'), 'en', 'language');
    isnt($browser->find('main')->css('border-top-left-radius'), '0px', 'the style sheet is taken');
    is_deeply([complaints()], [], 'nothing that Chromium complains of');
    shot('desktop');
};

# the contrast of two colours as WCAG 2 has it
sub luminance {
    my ($css) = @_;
    my @c = map { $_ /= 255; $_ <= 0.03928 ? $_ / 12.92 : (($_ + 0.055) / 1.055) ** 2.4 } ($css =~ /(\d+)/g)[0 .. 2];
    return 0.2126 * $c[0] + 0.7152 * $c[1] + 0.0722 * $c[2];
}
sub contrast {
    my ($x, $y) = sort { $b <=> $a } map { luminance($_) } @_;
    return ($x + 0.05) / ($y + 0.05);
}

subtest 'can be read' => sub {
    for my $scheme (qw(light dark)) {
        $browser->dark($scheme eq 'dark');
        $browser->open(page('app'));
        my $card = $browser->find('main')->css('background-color');
        cmp_ok(luminance($card), $scheme eq 'dark' ? '<' : '>', 0.2, "$scheme: the card");
        for my $selector ('h1', 'p', 'dt', 'dd', 'dd span', 'li', 'code', '.note') {
            cmp_ok(contrast($browser->find($selector)->css('color'), $card), '>=', 4.5, "$scheme: contrast of $selector");
        }
        for my $value (qw(allow deny)) {
            my $button = $browser->find("button[value=$value]");
            cmp_ok(contrast(map { $button->css($_) } qw(color background-color)), '>=', 4.5, "$scheme: contrast of $value");
        }
        shot("desktop-$scheme");
    }
    $browser->dark(0);
    # 640 pixels are 1280 at a zoom of 200 %
    for my $size ([1280, 900], [640, 450], [360, 740], [320, 568]) {
        for my $client (qw(app long)) {
            $browser->size(@$size, 2);
            $browser->open(page($client));
            is($browser->script('return document.documentElement.scrollWidth <= window.innerWidth'), 1, "@$size: $client needs no scrolling sideways");
            my @boxes = map { $_->rect } $browser->all('button');
            ok((grep { $_->{height} >= 44 && $_->{width} >= 44 } @boxes) == 2, "@$size: buttons that a thumb can hit");
            shot("$client-$size->[0]");
        }
    }
    $browser->size(1280, 900);
};

subtest 'allowed by keyboard' => sub {
    $browser->open(page('app'));
    isnt($browser->active->tag, 'button', 'nothing is chosen yet');
    my @order;
    for (1 .. 2) {
        $browser->keys('TAB');
        push @order, $browser->active->text;
        cmp_ok($browser->active->css('outline-width') =~ s/px//r, '>=', 2, "the focus on $order[-1] can be seen");
        shot("focus-$_");
    }
    is_deeply(\@order, [qw(Allow Deny)], 'the order of the buttons');
    $browser->keys([qw(SHIFT TAB)]);
    is($browser->active->text, 'Allow', 'and back');
    $browser->keys('ENTER');
    ok($browser->wait_for_url(qr{:$app/cb\?}), 'at the application');
    my $url = $browser->url;
    my ($code) = $url =~ /[?&]code=(\w+)/;
    $t->secret($code // '');
    like($url, qr{^http://127\.0\.0\.1:$app/cb\?code=[0-9A-Za-z]{43}&state=st4te%20%26&iss=http%3A%2F%2F127\.0\.0\.1%3A$gateway$}, 'with code, state and iss');
    is($redis->cmd('HGET', $store->name('code', $store->digest($code // '')), 'subject'), 'alice', 'a code for the user');
    is($browser->script('return document.referrer'), '', 'told nothing of where it came from');
    is_deeply([complaints()], [], 'nothing that Chromium complains of');
};

subtest 'denied by keyboard' => sub {
    $browser->open(page('app'));
    $browser->keys(qw(TAB TAB SPACE));
    ok($browser->wait_for_url(qr{:$app/cb\?}), 'at the application');
    like($browser->url, qr{/cb\?error=access_denied&error_description=[^&]+&state=st4te%20%26&iss=}, 'with the error');
};

subtest 'an application that goes on elsewhere' => sub {
    # Chromium applies form-action to every redirect that follows a form
    $browser->open(page('onward'));
    $browser->find('button[value=allow]')->click;
    ok($browser->wait_for_url(qr{^http://localhost:$home/home\?code=}), 'is let through');
    my ($code) = $browser->url =~ /[?&]code=(\w+)/;
    $t->secret($code // '');
    is_deeply([complaints()], [], 'nothing that Chromium complains of');
};

subtest 'two pages at a time' => sub {
    $browser->open(page('app', state => 'first'));
    my $first = $browser->script('return document.querySelector("[name=ticket]").value');
    $browser->open(page('app', state => 'second'));
    $browser->back;
    $browser->find('button[value=deny]')->click;
    ok($browser->wait_for_url(qr{:$app/cb\?.*state=first}), 'the first is still good');
};

subtest 'the cookie' => sub {
    $browser->open(page('app'));
    my ($cookie) = grep { $_->{name} eq 'opsauth_consent' } $browser->cookies;
    ok($cookie && $cookie->{httpOnly} && $cookie->{path} eq '/oauth/authorize' && $cookie->{sameSite} eq 'Lax', 'as it should be');
    is($browser->script('return document.cookie'), '', 'no script sees it');
    $browser->forget;
    $browser->find('button[value=allow]')->click;
    ok($browser->wait_for_text(qr/Nothing has been allowed/), 'without it the page asks again');
    is($browser->find('[role=alert]')->role, 'alert', 'and says so first');
    shot('again');
    $browser->find('button[value=deny]')->click;
    ok($browser->wait_for_url(qr{:$app/cb\?error=access_denied}), 'then it is taken');
};

subtest 'other sites' => sub {
    # localhost is another site than 127.0.0.1
    $browser->open(page('app'));
    $browser->console;
    my $before = () = @{$redis->cmd('KEYS', $store->name('code:*'))};
    # with the cookie, from another port; without, from another site
    for my $host (qw(127.0.0.1 localhost)) {
        $browser->open("http://$host:$app/forge");
        $browser->find('button')->click;
        ok($browser->wait_for_text(qr/Nothing has been allowed/), "a form of $host:$app is asked about");
    }
    is(scalar(() = @{$redis->cmd('KEYS', $store->name('code:*'))}), $before, 'and makes no code');

    $browser->open("http://127.0.0.1:$app/frame?" . page('app', query => 1));
    ok((grep { /frame/i && /refused|denied|violates/i } $browser->console), 'no frame of it');
};

subtest 'hostile texts' => sub {
    $browser->open(page('hostile', state => '%22%3E%3Cscript%3Edocument.title%3D1%3C%2Fscript%3E'));
    is($browser->title, 'Allow access?', 'no script ran');
    like($browser->text, qr/\Q<script>document.title='owned'<\/script>\E asks for access/, 'they are text');
    is(scalar($browser->all('script, img')), 0, 'and no elements');
    is_deeply([complaints()], [], 'not even tried');
};

subtest 'an error' => sub {
    $browser->open("http://127.0.0.1:$gateway/oauth/authorize?client_id=unknown");
    like($browser->text, qr/This request can.t be served.*Reason: the application is not known here/s, 'a page for people');
    shot('error');
};

$browser->stop;
$t->done;
