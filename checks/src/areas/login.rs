//! LOGIN: people who log in at the gateway, with a password or at an OpenID Connect provider.

rows! {
    LOGIN_001 = "KTA-LOGIN-001", Request,
        title: { en: "Name, password or code is wrong", zh: "用户名、密码或验证码错误" },
        cause: {
            en: "One of them was mistyped, a code was used before or is too old, or there is no such local account. Which of these it is, the gateway does not say.",
            zh: "其中某一项输入有误，验证码已被使用或已过期，或者没有该本地账户。网关不会说明具体是哪一种情况。"
        },
        remedy: {
            en: "Try again; with a code, wait for the next one. An administrator can give you a new password: POST /api/v1/users/<name>/password.",
            zh: "请重试；如使用验证码，请等待下一个。管理员可以为您设置新密码：POST /api/v1/users/<用户名>/password。"
        };
    LOGIN_002 = "KTA-LOGIN-002", Request,
        title: { en: "A code is needed as well", zh: "还需要验证码" },
        cause: {
            en: "The account is protected with codes of an authenticator app.",
            zh: "该账户启用了身份验证器应用的动态验证码。"
        },
        remedy: {
            en: "Send the code as totp, or one of your recovery codes as recoveryCode. Without either, an administrator can take the protection off: DELETE /api/v1/users/<name>/totp.",
            zh: "请用 totp 字段发送验证码，或用 recoveryCode 字段发送一个恢复码。若两者都没有，管理员可以解除保护：DELETE /api/v1/users/<用户名>/totp。"
        };
    LOGIN_003 = "KTA-LOGIN-003", Request,
        title: { en: "A new password has to be chosen", zh: "需要设置新密码" },
        cause: {
            en: "The password was given out by an administrator and is good for one login, or the new one is too easy to guess.",
            zh: "当前密码由管理员发放，只能用于一次登录；或者新密码过于容易猜测。"
        },
        remedy: {
            en: "Send a new password of at least 12 characters as newPassword.",
            zh: "请用 newPassword 字段发送至少 12 个字符的新密码。"
        };
    LOGIN_004 = "KTA-LOGIN-004", Request,
        title: { en: "The OpenID Connect provider cannot be reached", zh: "无法连接 OpenID Connect 身份提供方" },
        cause: {
            en: "The provider is down, the gateway has no way to it or does not trust its certificate, or what answers there is not a provider.",
            zh: "身份提供方未运行，网关无法访问它或不信任其证书，或者该地址上应答的并不是身份提供方。"
        },
        remedy: {
            en: "On the gateway's machine, open <issuer>/.well-known/openid-configuration with curl. For a private CA set --oidc-ca-file. API tokens and passwords work meanwhile.",
            zh: "在网关所在机器上用 curl 打开 <issuer>/.well-known/openid-configuration。如使用私有 CA，请设置 --oidc-ca-file。在此期间 API 令牌和密码登录仍然可用。"
        };
    LOGIN_005 = "KTA-LOGIN-005", Request,
        title: { en: "The OpenID Connect provider is another one than configured", zh: "OpenID Connect 身份提供方与配置不符" },
        cause: {
            en: "--oidc-issuer is not, character by character, what the provider calls itself: another realm or tenant, or one slash more or less at the end.",
            zh: "--oidc-issuer 与身份提供方自称的 issuer 不完全一致：realm 或租户不同，或者末尾多或少一个斜杠。"
        },
        remedy: {
            en: "Take the value of issuer in <issuer>/.well-known/openid-configuration as it stands, and restart the gateway with it.",
            zh: "原样采用 <issuer>/.well-known/openid-configuration 中 issuer 的值，并以此重启网关。"
        };
    LOGIN_006 = "KTA-LOGIN-006", Request,
        title: { en: "The OpenID Connect provider does not accept the gateway", zh: "OpenID Connect 身份提供方不接受本网关" },
        cause: {
            en: "The client id or the secret is wrong or expired, or the client may not use this kind of login.",
            zh: "客户端 ID 或密钥错误或已过期，或者该客户端不允许使用这种登录方式。"
        },
        remedy: {
            en: "Compare --oidc-client-id and the file of --oidc-client-secret-file with the registration at the provider, and restart the gateway. There, allow authorization code and, for the command line, device code.",
            zh: "将 --oidc-client-id 以及 --oidc-client-secret-file 指定的文件与身份提供方处的登记核对，然后重启网关。并在提供方处允许授权码方式；若要在命令行登录，还需允许设备码方式。"
        };
    LOGIN_007 = "KTA-LOGIN-007", Request,
        title: { en: "The clocks of gateway and OpenID Connect provider differ", zh: "网关与 OpenID Connect 身份提供方的时钟不一致" },
        cause: {
            en: "The ID token was made just now and is, by the gateway's clock, over or not yet good. They may differ by 60 seconds.",
            zh: "刚刚签发的 ID 令牌按网关的时钟已过期或尚未生效。两者的时钟最多可相差 60 秒。"
        },
        remedy: {
            en: "Synchronise both machines' clocks (NTP); timedatectl shows the state.",
            zh: "同步两台机器的时钟（NTP）；可用 timedatectl 查看状态。"
        };
    LOGIN_008 = "KTA-LOGIN-008", Request,
        title: { en: "The ID token of the OpenID Connect provider is refused", zh: "OpenID Connect 身份提供方的 ID 令牌被拒绝" },
        cause: {
            en: "It is signed with a key that the provider does not publish or with an algorithm that is not accepted, is for another application, or was changed on its way.",
            zh: "它的签名密钥未由身份提供方公布或签名算法不被接受，它是签发给其他应用的，或者在传输过程中被改动。"
        },
        remedy: {
            en: "Let the provider sign ID tokens with RS256, PS256, ES256 or EdDSA and a key of its jwks_uri, for the client of --oidc-client-id. If that is so, try again in a few seconds: keys may just have changed.",
            zh: "让身份提供方使用 RS256、PS256、ES256 或 EdDSA 以及 jwks_uri 中的密钥，为 --oidc-client-id 指定的客户端签发 ID 令牌。若已如此，请几秒后重试：密钥可能刚刚轮换。"
        };
    LOGIN_009 = "KTA-LOGIN-009", Request,
        title: { en: "This login cannot be finished", zh: "此次登录无法完成" },
        cause: {
            en: "It was started in another browser, more than 10 minutes ago, or finished already; or somebody sent you the link.",
            zh: "登录是在另一个浏览器中发起的，已超过 10 分钟，或者已经完成；也可能是他人向您发送了该链接。"
        },
        remedy: {
            en: "Start again at /api/v1/oidc/login, in the browser that you use.",
            zh: "请在您使用的浏览器中从 /api/v1/oidc/login 重新开始。"
        };
    LOGIN_010 = "KTA-LOGIN-010", Request,
        title: { en: "The OpenID Connect provider refused the login", zh: "OpenID Connect 身份提供方拒绝了登录" },
        cause: {
            en: "The person said no, is not allowed to use this application, or the code or the session was used before, has expired or was ended there.",
            zh: "用户拒绝授权，不被允许使用此应用，或者授权码或会话已被使用、已过期或已在提供方处终止。"
        },
        remedy: {
            en: "Log in again. If that does not help, the provider's own log names the reason, and its administrator assigns people to applications.",
            zh: "请重新登录。若仍不行，身份提供方自身的日志会说明原因；由其管理员将人员分配到应用。"
        };
    LOGIN_011 = "KTA-LOGIN-011", Request,
        title: { en: "The person cannot become a user here", zh: "此人无法成为本系统用户" },
        cause: {
            en: "The provider says no name, or an e-mail address that it has not verified; or the name has characters that no user's name has, or is that of another user, whose account is never handed over by name; or the user is disabled.",
            zh: "身份提供方没有给出用户名，或给出的是未经验证的电子邮件地址；或者该名称含有用户名不允许的字符，或与另一用户同名（账户绝不会因同名而移交）；或者该用户已被停用。"
        },
        remedy: {
            en: "Choose a claim with fitting names (--oidc-username-claim), or rename or delete the local user of that name.",
            zh: "选择带有合适名称的声明（--oidc-username-claim），或者重命名或删除同名的本地用户。"
        };
    LOGIN_012 = "KTA-LOGIN-012", Request,
        title: { en: "The secret of the authenticator app cannot be read", zh: "无法读取身份验证器应用的密钥" },
        cause: {
            en: "login.key in the data folder is another one than when the app was set up: the database was restored without it.",
            zh: "数据目录中的 login.key 与设置应用时的不同：恢复数据库时没有一并恢复它。"
        },
        remedy: {
            en: "Restore login.key from the same backup as gateway.db and restart; or let an administrator take the protection off: DELETE /api/v1/users/<name>/totp.",
            zh: "从与 gateway.db 相同的备份中恢复 login.key 并重启；或由管理员解除保护：DELETE /api/v1/users/<用户名>/totp。"
        };
}
