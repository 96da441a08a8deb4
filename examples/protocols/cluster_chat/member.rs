//! A client of the chat. Its first line is its nickname, and each later line is sent to the members of all nodes.

use backport::{Adapter, Client, Closing, Result};

use crate::redis_link::RedisLink;

pub(crate) struct Member {
    pub(crate) link: RedisLink,
    pub(crate) nickname: Option<String>,
}

impl Member {
    /// Sends a line to everybody, also to this client. A client whose line may be lost is told.
    fn say(&self, client: &Client, line: &str) -> Result {
        if let Err(trouble) = self.link.publish(line) {
            client.write_line(format!("* {trouble}: {line}"))?;
        }
        Ok(())
    }
}

impl Adapter for Member {
    fn opening(&mut self, client: &Client) -> Result {
        let node = client.server().name();
        Ok(client.write_line(format!("You are {} on {node}. Your nickname?", client.remote()))?)
    }

    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        // Without the characters that control a terminal.
        let line = String::from_utf8_lossy(line).replace(char::is_control, "");
        match &self.nickname {
            Some(nickname) => self.say(client, &format!("{nickname}: {line}")),
            None if line.is_empty() => Ok(client.write_line("Your nickname?")?),
            None => {
                self.link.members.join(client);
                self.nickname = Some(line.clone());
                self.say(client, &format!("* {line} has come"))
            }
        }
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        if let Closing::Stopping = reason {
            client.write_line("* this node stops, goodbye").ok();
        }
        if let Some(nickname) = &self.nickname {
            self.link.publish(&format!("* {nickname} has left")).ok();
        }
    }
}
